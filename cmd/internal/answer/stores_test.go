package answer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store/care"
	"gvlan/cluster/store/join"
	"gvlan/cmd/internal/api"
)

// TestMembersSeenLast: by the last look or, before the first, by what the host
// remembers.
func TestMembersSeenLast(t *testing.T) {
	called := func(node string) string { return "host " + node }
	remembered := []join.Place{{Node: "b", Client: "10.0.0.2:2379", Learner: true}, {Node: "a", Client: "10.0.0.1:2379"}}
	looked := []care.Member{{Node: "c", Learner: true, Answers: true}, {Node: "a", Leader: true, Size: 7, InUse: 5}, {Node: "b", Answers: true}}
	if diff := cmp.Diff([]api.StoreMember{
		{Node: "a", Host: "host a", Address: "10.0.0.1:2379", Role: "leader", Size: 7, InUse: 5, Why: "does not answer"},
		{Node: "b", Host: "host b", Address: "10.0.0.2:2379", Role: "voter"},
		{Node: "c", Host: "host c", Role: "learner"},
	}, lastSeen(looked, remembered, called)); diff != "" {
		t.Errorf("at the last look (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]api.StoreMember{
		{Node: "a", Host: "host a", Address: "10.0.0.1:2379", Role: "voter"},
		{Node: "b", Host: "host b", Address: "10.0.0.2:2379", Role: "learner"},
	}, lastSeen(nil, remembered, called)); diff != "" {
		t.Errorf("before the first (-want +got):\n%s", diff)
	}
}
