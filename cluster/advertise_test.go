package cluster_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
)

func TestAdvertise(t *testing.T) {
	tests := []struct {
		name, want string
		wantErr    string
	}{
		{"an address of this host", "127.0.0.1", ""},
		{"an address of another host", "192.0.2.77", "--advertise 192.0.2.77 is no address of this host: give one of its own, or none"},
		{"no interface", "eth99", "--advertise eth99 is neither an address nor an interface of this host, use for example '--advertise eth0'"},
		{"loopback's name", "lo", "--advertise lo has no address that other hosts can reach"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := cluster.Advertise(t.Context(), test.want, nil)
			text := ""
			if err != nil {
				text = err.Error()
			} else if got.String() != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if diff := cmp.Diff(test.wantErr, text); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAdvertiseByDefault holds the default to what can be said of any host:
// an address of its own, and loopback only when it has no other.
func TestAdvertiseByDefault(t *testing.T) {
	got, err := cluster.Advertise(t.Context(), "", []string{"127.0.0.1:2379"})
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	own := false
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		own = own || err == nil && p.Addr() == got
	}
	if !own {
		t.Errorf("%s is no address of this host", got)
	}
}
