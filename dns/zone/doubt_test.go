package zone_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/dns/zone"
)

func TestDoubts(t *testing.T) {
	called := func(node string) string { return map[string]string{"n1": "zeus", "n2": "hera", "n3": "ares"}[node] }
	tests := []struct{ name, got, want string }{
		{"two hosts", zone.Namesakes{Name: "web", Network: "lan", Nodes: []string{"n1", "n2"}}.Doubt(called),
			"container name web is used on hosts hera and zeus in network lan: it answers with the addresses of all of them"},
		{"three hosts", zone.Namesakes{Name: "web", Network: "lan", Nodes: []string{"n1", "n2", "n3"}}.Doubt(called),
			"container name web is used on hosts ares, hera and zeus in network lan: it answers with the addresses of all of them"},
		{"networks that fold alike", zone.Conflict{Network: "my_lan", Label: "my-lan", With: "my-lan"}.Doubt(),
			"network my_lan has no full names, for my-lan would have the same (my-lan): its containers answer to their bare names"},
		{"a network that is no label", zone.Conflict{Network: "my..lan"}.Doubt(),
			"network my..lan has no full names, for what it is called cannot stand in one: its containers answer to their bare names"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.got); diff != "" {
				t.Errorf("sentence (-want +got):\n%s", diff)
			}
		})
	}
}
