package pool

import (
	"net/netip"
	"testing"

	"gvlan/cluster/store"
)

func TestBlockIn(t *testing.T) {
	for _, c := range []struct {
		name, block, subnet string
		switched            bool
		want                int // 0: none
	}{
		{name: "usual", subnet: "10.0.0.0/16", want: 26},
		{name: "usual, four blocks", subnet: "10.0.0.0/24", want: 26},
		{name: "usual, two blocks", subnet: "10.0.0.0/25"},
		{name: "usual of IPv6", subnet: "fd00::/64", want: 122},
		{name: "usual of IPv6, four blocks", subnet: "fd00::/120", want: 122},
		{name: "usual of IPv6, two blocks", subnet: "fd00::/121"},
		{name: "usual of a network that switches", subnet: "10.0.0.0/16", switched: true},
		{name: "given", block: "28", subnet: "10.0.0.0/24", want: 28},
		{name: "given, two blocks", block: "26", subnet: "10.0.0.0/25", want: 26},
		{name: "given, one block", block: "26", subnet: "10.0.0.0/26"},
		{name: "given, less than one", block: "26", subnet: "10.0.0.0/28"},
		{name: "given, of IPv6", block: "30", subnet: "fd00::/64", want: 126},
		{name: "given, wide", block: "16", subnet: "10.0.0.0/8", want: 16},
		{name: "given, wide, of IPv6", block: "16", subnet: "fd00::/64", want: 112},
		{name: "off", block: "off", subnet: "10.0.0.0/16"},
		{name: "given to a network that switches", block: "26", subnet: "10.0.0.0/16", switched: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			given := map[string]string{}
			if c.block != "" {
				given["block"] = c.block
			}
			o, err := ParseOptions(given)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := o.BlockIn(netip.MustParsePrefix(c.subnet), !c.switched); got != c.want || ok != (c.want != 0) {
				t.Errorf("BlockIn = %d, %v, want %d", got, ok, c.want)
			}
		})
	}
}

func TestCheckBlock(t *testing.T) {
	small := []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/27")}}
	both := append(small, store.Pool{Subnet: netip.MustParsePrefix("fd00::/64")})
	for _, c := range []struct {
		name, block     string
		routed, managed bool
		pools           []store.Pool
		err             string
	}{
		{name: "none", pools: small},
		{name: "off", block: "off", pools: small},
		{name: "of a swarm, off", block: "off", managed: true, pools: both},
		{name: "in one of the subnets", block: "26", routed: true, pools: both},
		{name: "in none", block: "26", routed: true, pools: small, err: "--ipam-opt block=26: no subnet of the network is larger than a block: give a longer one (up to 30)"},
		{name: "switched", block: "26", pools: both, err: "--ipam-opt block=26: only ipvlan networks of mode l3 and l3s"},
		{name: "of a swarm", block: "26", routed: true, managed: true, pools: both, err: "--ipam-opt block=26: a swarm's manager chooses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Addressing{Options: map[string]string{}, Pools: c.pools}
			if c.block != "" {
				a.Options["block"] = c.block
			}
			if c.managed {
				checkErr(t, a.CheckNoBlock(), c.err)
				return
			}
			checkErr(t, a.CheckBlock(c.routed), c.err)
		})
	}
}
