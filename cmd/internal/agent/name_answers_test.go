package agent

import (
	"testing"

	"gvlan/dns/zone"

	"github.com/google/go-cmp/cmp"
)

func TestDoubts(t *testing.T) {
	called := func(node string) string { return map[string]string{"n1": "zeus", "n2": "hera", "n3": "ares"}[node] }
	tests := []struct{ name, got, want string }{
		{"two hosts", namesakesDoubt(zone.Namesakes{Name: "web", Network: "lan", Nodes: []string{"n1", "n2"}}, called),
			"container name web is used on hosts hera and zeus in network lan: it answers with the addresses of all of them"},
		{"three hosts", namesakesDoubt(zone.Namesakes{Name: "web", Network: "lan", Nodes: []string{"n1", "n2", "n3"}}, called),
			"container name web is used on hosts ares, hera and zeus in network lan: it answers with the addresses of all of them"},
		{"networks that fold alike", conflictDoubt(zone.Conflict{Network: "my_lan", Label: "my-lan", With: "my-lan"}),
			"network my_lan has no full names, for my-lan would have the same (my-lan): its containers answer to their bare names"},
		{"a network that is no label", conflictDoubt(zone.Conflict{Network: "my..lan"}),
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

func TestNamesNear(t *testing.T) {
	records := []zone.Record{
		{Name: "web", Network: "lan", Node: "n1"},
		{Name: "web", Network: "lan", Node: "n2"},
		{Name: "web", Network: "office"},
		{Name: "database", Network: "lan"},
		{Name: "bare"},
	}
	tests := []struct {
		name, asked string
		want        string
	}{
		{"without its network", "web", "; did you mean web.lan.gvlan.internal or web.office.gvlan.internal? gvlan dns ls lists them all"},
		{"of a mistyped network", "Web.lna.gvlan.internal.", "; did you mean web.lan.gvlan.internal or web.office.gvlan.internal? gvlan dns ls lists them all"},
		{"mistyped", "databse.lan", "; did you mean database.lan.gvlan.internal? gvlan dns ls lists them all"},
		{"of a network without a zone", "bar", "; did you mean bare? gvlan dns ls lists them all"},
		{"like nothing", "example.org", "; gvlan dns ls lists the names there are"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, hint(namesNear(test.asked, "gvlan.internal", records))); diff != "" {
				t.Errorf("hint (-want +got):\n%s", diff)
			}
		})
	}
}
