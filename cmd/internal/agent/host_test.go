package agent

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/config"
	"gvlan/ipam"
)

func TestDefaultPools(t *testing.T) {
	block := func(base string, bits int) config.Block {
		return config.Block{Base: netip.MustParsePrefix(base), Bits: bits}
	}
	got := defaultPools(config.Pools{
		Default4: []config.Block{block("172.20.0.0/14", 16), block("10.0.0.0/24", 24)},
		Default6: []config.Block{block("fd00::/48", 64)},
	})
	pools := func(first, last string) ipam.DefaultPools {
		return ipam.DefaultPools{First: netip.MustParsePrefix(first), Last: netip.MustParsePrefix(last)}
	}
	want := []ipam.DefaultPools{
		pools("172.20.0.0/16", "172.23.0.0/16"), pools("10.0.0.0/24", "10.0.0.0/24"), pools("fd00::/64", "fd00:0:0:ffff::/64"),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("default pools (-want +got):\n%s", diff)
	}
}
