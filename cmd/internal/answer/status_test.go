package answer

import (
	"testing"

	"gvlan/cluster/store"
	"gvlan/driver/command"
)

// TestNetworkParent: a network shows the parent that its containers are on, and
// before there are any the one that they would be on.
func TestNetworkParent(t *testing.T) {
	self := store.Node{Networks: []store.NodeNetwork{{Engine: "n1", Parent: "eth1"}, {Engine: "n2", Parent: "eth2"}}}
	tests := []struct {
		name string
		of   command.NetworkReport
		want string
	}{
		{"no container yet", command.NetworkReport{ID: "n2"}, "eth2"},
		{"in use", command.NetworkReport{ID: "n2", Parents: []string{"eth0"}}, "eth0"},
		{"none is fit", command.NetworkReport{ID: "n3"}, ""},
	}
	for _, tt := range tests {
		if got := networkStatus(tt.of, self, nil).Parent; got != tt.want {
			t.Errorf("%s: parent %q, want %q", tt.name, got, tt.want)
		}
	}
}
