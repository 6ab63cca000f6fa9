package option_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/option"
)

func TestRoutes(t *testing.T) {
	lan := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("fd00::/64")}
	for _, tt := range []struct {
		routes, mode string   // mode: of ipvlan
		want         []string // as they are given
		refused      string
	}{
		{routes: "10.0.0.0/8 via 192.168.1.2", want: []string{"10.0.0.0/8 via 192.168.1.2"}},
		{routes: " 10.0.0.0/8  via 192.168.1.2 ,172.16.1.9 via 192.168.1.3,fd01::/48 via fd00::2", want: []string{"10.0.0.0/8 via 192.168.1.2", "172.16.1.9/32 via 192.168.1.3", "fd01::/48 via fd00::2"}},
		{routes: "192.168.1.9 via 192.168.1.2", want: []string{"192.168.1.9/32 via 192.168.1.2"}}, // of the subnet, and yet by a router
		{routes: "10.0.0.0/8", mode: "l3", want: []string{"10.0.0.0/8"}},
		{routes: "10.0.0.0/8,fd01::/48", mode: "l3s", want: []string{"10.0.0.0/8", "fd01::/48"}},
		{routes: "10.0.0.0/8 via 192.168.1.2", mode: "l2", want: []string{"10.0.0.0/8 via 192.168.1.2"}},

		{routes: "", refused: "want SUBNET via ADDRESS"},
		{routes: "10.0.0.0/8 via 192.168.1.2,", refused: "want SUBNET via ADDRESS"},
		{routes: "10.0.0.0/8 by 192.168.1.2", refused: "want SUBNET via ADDRESS"},
		{routes: "10.0.0.0/8 via", refused: "want SUBNET via ADDRESS"},
		{routes: "10.0.0.0/8 via 192.168.1.2 dev eth0", refused: "want SUBNET via ADDRESS"},
		{routes: "ten via 192.168.1.2", refused: "ten is no subnet, as 10.0.0.0/8"},
		{routes: "10.0.0.0/33 via 192.168.1.2", refused: "10.0.0.0/33 is no subnet"},
		{routes: "10.0.0.0/8 via router", refused: "router is no address of a router"},
		{routes: "fd01::/48 via fe80::1%eth0", refused: "is no address of a router"},
		{routes: "10.0.0.1/8 via 192.168.1.2", refused: "has bits beyond its length: give 10.0.0.0/8"},
		{routes: "0.0.0.0/0 via 192.168.1.2", refused: "0.0.0.0/0 is the default route, which --gateway gives"},
		{routes: "::/0 via fd00::2", refused: "::/0 is the default route, which --gateway gives"},
		{routes: "224.0.0.0/4 via 192.168.1.2", refused: "224.0.0.0/4 is not routed"},
		{routes: "127.0.0.0/8 via 192.168.1.2", refused: "127.0.0.0/8 is not routed"},
		{routes: "fe80::/64 via fd00::2", refused: "fe80::/64 is not routed"},
		{routes: "fd01::/48 via 192.168.1.2", refused: "fd01::/48 and 192.168.1.2 are of two IP versions"},
		{routes: "10.0.0.0/8 via 192.168.1.2,10.0.0.0/8 via 192.168.1.2", refused: "it is given twice"},
		{routes: "10.0.0.0/8 via 192.168.1.2,10.0.0.0/8 via 192.168.1.3", refused: "contradicts 10.0.0.0/8 via 192.168.1.2"},
		{routes: "10.0.0.0/8", refused: "say which router of the LAN it goes by"},
		{routes: "10.0.0.0/8 via 192.168.1.2", mode: "l3", refused: "an l3 network routes by device and asks for no router: leave via out, as 10.0.0.0/8"},
		{routes: "10.0.0.0/8 via 192.168.2.2", refused: "192.168.2.2 is in no subnet of the network: give a router of 192.168.1.0/24 or fd00::/64"},
		{routes: "192.168.1.0/24 via 192.168.1.2", refused: "that is the network's own subnet"},
		{routes: "192.168.1.0/24", mode: "l3", refused: "that is the network's own subnet"},
		{routes: "fd01::/48 via fe80::1", refused: "fe80::1 is in no subnet of the network"},
	} {
		t.Run(tt.routes+" "+tt.mode, func(t *testing.T) {
			raw := map[string]string{"parent": "eth0", "routes": tt.routes}
			if tt.mode != "" {
				raw["ipvlan_mode"] = tt.mode
			}
			o, err := option.Parse(raw)
			if err == nil {
				err = o.CheckSubnets(lan)
			}
			if tt.refused != "" {
				if !errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), tt.refused) || !strings.Contains(err.Error(), "-o routes=") {
					t.Errorf("got %v, want a refusal of -o routes= that says %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range o.Routes {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAdvertised: router advertisements are taken or not where there are any.
func TestAdvertised(t *testing.T) {
	four, six := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")
	for _, tt := range []struct {
		value, mode string // mode: of ipvlan
		subnets     []netip.Prefix
		refused     string
	}{
		{value: "on", subnets: []netip.Prefix{four, six}},
		{value: "off", subnets: []netip.Prefix{four, six}},
		{value: "off", subnets: []netip.Prefix{four}},
		{value: "off", mode: "l3", subnets: []netip.Prefix{six}},
		{value: "on", mode: "l2", subnets: []netip.Prefix{six}},
		{value: "on", subnets: []netip.Prefix{four}, refused: "-o ipv6-ra=on: the network has no IPv6: add --ipv6"},
		{value: "on", mode: "l3s", subnets: []netip.Prefix{six}, refused: "-o ipv6-ra=on: no router is heard on an l3s network"},
		{value: "", subnets: []netip.Prefix{six}, refused: `-o ipv6-ra="" is not one of on, off`},
		{value: "kernel", subnets: []netip.Prefix{six}, refused: `-o ipv6-ra="kernel" is not one of on, off`},
	} {
		t.Run(tt.value+tt.mode, func(t *testing.T) {
			raw := map[string]string{"parent": "eth0", "ipv6-ra": tt.value}
			if tt.mode != "" {
				raw["ipvlan_mode"] = tt.mode
			}
			o, err := option.Parse(raw)
			if err == nil {
				err = o.CheckSubnets(tt.subnets)
			}
			switch {
			case tt.refused == "" && err != nil:
				t.Error(err)
			case tt.refused != "" && (!errors.Is(err, option.ErrInvalid) || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("got %v, want a refusal that says %q", err, tt.refused)
			}
		})
	}
}
