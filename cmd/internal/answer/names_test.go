package answer

import (
	"testing"

	"gvlan/dns/zone"

	"github.com/google/go-cmp/cmp"
)

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
