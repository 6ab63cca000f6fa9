package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/cmd/internal/config"
)

func TestMTUAt(t *testing.T) {
	if got := mtuAt(netip.MustParseAddr("127.0.0.1")); got < 1500 {
		t.Errorf("the MTU of the loopback is %d", got)
	}
	if got := mtuAt(netip.MustParseAddr("192.0.2.1")); got != 0 {
		t.Errorf("the MTU of an interface that is not here is %d", got)
	}
}

func TestJoinPeers(t *testing.T) {
	for join, want := range map[string][]string{"192.0.2.1:2379": {"192.0.2.1"}, "[2001:db8::1]:2379": {"2001:db8::1"}, "": nil} {
		if got := joinPeers(config.Config{Join: config.Join{Address: join}}); !slices.Equal(got, want) {
			t.Errorf("--join %s gives the peers %v, want %v", join, got, want)
		}
	}
}

func TestAdvertised(t *testing.T) {
	tests := []struct {
		name    string
		config  config.Config
		want    string
		wantErr string
	}{
		{name: "address", config: config.Config{Advertise: "192.0.2.7"}, want: "192.0.2.7"},
		{name: "IPv6 address", config: config.Config{Advertise: "2001:db8::7"}, want: "2001:db8::7"},
		{name: "towards etcd", config: config.Config{Etcd: config.Etcd{Endpoints: []string{"http://127.0.0.9:2379"}}}, want: "127.0.0.1"},
		{name: "towards the host it joins", config: config.Config{Join: config.Join{Address: "[::1]:2379"}}, want: "::1"},
		{name: "where it listens", config: config.Config{Etcd: config.Etcd{Listen: "127.0.0.3:2379"}}, want: "127.0.0.3"},
		{name: "interface without a usable address", config: config.Config{Advertise: "lo"}, wantErr: "has no address others could use"},
		{name: "no such interface", config: config.Config{Advertise: "gvlan-none0"}, wantErr: "this host has no such interface"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := advertised(test.config)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error is %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != netip.MustParseAddr(test.want) {
				t.Errorf("advertised %s, want %s", got, test.want)
			}
		})
	}
}
