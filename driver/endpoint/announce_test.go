package endpoint

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestWhatTheEngineLeavesToAnnounce(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	tests := []struct {
		name string
		api  string // "" is not known yet
		want []netip.Addr
	}{
		{name: "20.10 announces nothing", api: "1.41", want: []netip.Addr{v4, v6}},
		{name: "27 announces nothing", api: "1.47", want: []netip.Addr{v4, v6}},
		{name: "28 announces IPv6 rightly", api: "1.48", want: []netip.Addr{v4}},
		{name: "28.5", api: "1.51", want: []netip.Addr{v4}},
		{name: "not known yet", want: []netip.Addr{v4}},
		{name: "no version", api: "x", want: []netip.Addr{v4}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newAnnouncer()
			if test.api != "" {
				a.Learn(test.api)
			}
			got := a.Left([]netip.Addr{v4, v6})
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("left to the driver (-want +got):\n%s", diff)
			}
		})
	}
}
