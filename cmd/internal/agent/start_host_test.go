package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/config"
	"gvlan/ipam/node"
)

func TestDefaultPools(t *testing.T) {
	block := func(base string, bits int) config.Block {
		return config.Block{Base: netip.MustParsePrefix(base), Bits: bits}
	}
	got := defaultPools(config.Pools{
		Default4: []config.Block{block("172.20.0.0/14", 16), block("10.0.0.0/24", 24)},
		Default6: []config.Block{block("fd00::/48", 64)},
	})
	pools := func(first, last string) node.DefaultPools {
		return node.DefaultPools{First: netip.MustParsePrefix(first), Last: netip.MustParsePrefix(last)}
	}
	want := []node.DefaultPools{
		pools("172.20.0.0/16", "172.23.0.0/16"), pools("10.0.0.0/24", "10.0.0.0/24"), pools("fd00::/64", "fd00:0:0:ffff::/64"),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("default pools (-want +got):\n%s", diff)
	}
}

func TestMTUAt(t *testing.T) {
	if got := mtuAt(netip.MustParseAddr("127.0.0.1")); got < 1500 {
		t.Errorf("the MTU of the loopback is %d", got)
	}
	if got := mtuAt(netip.MustParseAddr("192.0.2.1")); got != 0 {
		t.Errorf("the MTU of an interface that is not here is %d", got)
	}
}

func TestAdvertised(t *testing.T) {
	tests := []struct {
		name    string
		config  config.Config
		want    string // "" for any of this host's own
		wantErr string
	}{
		{name: "address", config: config.Config{Advertise: "127.0.0.1"}, want: "127.0.0.1"},
		{name: "IPv6 address", config: config.Config{Advertise: "::1"}, want: "::1"},
		{name: "address of another host", config: config.Config{Advertise: "192.0.2.77"}, wantErr: "--advertise 192.0.2.77 is no address of this host"},
		{name: "IPv6 address of another host", config: config.Config{Advertise: "2001:db8::7"}, wantErr: "--advertise 2001:db8::7 is no address of this host"},
		{name: "towards etcd", config: config.Config{Etcd: config.Etcd{Endpoints: []string{"http://127.0.0.9:2379"}}}},
		{name: "towards the host it joins", config: config.Config{Join: config.Join{Address: "[::1]:2379"}}},
		{name: "where it listens", config: config.Config{Etcd: config.Etcd{Listen: "192.0.2.3:2379"}}, want: "192.0.2.3"},
		{name: "not where only this host reaches it", config: config.Config{Etcd: config.Etcd{Listen: "127.0.0.3:2379"}}},
		{name: "the one that was given before where it listens", config: config.Config{Advertise: "127.0.0.1", Etcd: config.Etcd{Listen: "192.0.2.3:2379"}}, want: "127.0.0.1"},
		{name: "interface without a usable address", config: config.Config{Advertise: "lo"}, wantErr: "--advertise lo has no address that other hosts can reach"},
		{name: "no such interface", config: config.Config{Advertise: "gvlan-none0"}, wantErr: "--advertise gvlan-none0 is neither an address nor an interface of this host"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := advertised(t.Context(), test.config)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error is %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if mtuAt(got) == 0 {
					t.Errorf("advertised %s, which no interface of this host has", got)
				}
				return
			}
			if got != netip.MustParseAddr(test.want) {
				t.Errorf("advertised %s, want %s", got, test.want)
			}
		})
	}
}
