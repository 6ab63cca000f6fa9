package zone_test

import (
	"testing"

	"gvlan/dns/zone"
)

func TestLookupOfWhatIsNot(t *testing.T) {
	z, err := zone.New(zone.Config{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name           string
		known, missing bool
	}{
		{"web.lan.gvlan.internal", true, true},
		{"gvlan.internal", true, false},
		{"example.org", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := z.Lookup(zone.Everything(), tt.name, "SOA")
			if err != nil {
				t.Fatal(err)
			}
			if got.Known != tt.known || got.Missing != tt.missing {
				t.Errorf("known %t, missing %t; want %t, %t", got.Known, got.Missing, tt.known, tt.missing)
			}
		})
	}
}
