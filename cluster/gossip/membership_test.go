package gossip_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
)

func TestNewRefuses(t *testing.T) {
	good := gossip.Config{Node: "a", Registry: alone{}, Address: netip.MustParseAddr("127.0.7.1")}
	tests := []struct {
		name   string
		change func(*gossip.Config)
		want   string
	}{
		{"no node", func(c *gossip.Config) { c.Node = "" }, "start membership: Node is empty"},
		{"no registry", func(c *gossip.Config) { c.Registry = nil }, "start membership: Registry is nil"},
		{"no address", func(c *gossip.Config) { c.Address = netip.Addr{} }, `start membership: "invalid IP" is no address to advertise: other nodes must be able to reach it`},
		{"any address", func(c *gossip.Config) { c.Address = netip.IPv4Unspecified() }, `start membership: "0.0.0.0" is no address to advertise: other nodes must be able to reach it`},
		{"a tiny MTU", func(c *gossip.Config) { c.MTU = 500 }, "start membership: MTU 500 is below 576, the least IPv4 carries"},
		{"nothing wrong", func(*gossip.Config) {}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			_, err := gossip.New(c)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	addr := netip.MustParseAddr("127.0.7.50")
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			port := freePort(t)
			at := netip.AddrPortFrom(addr, port)
			if network == "tcp" {
				l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			} else {
				l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			}
			m, err := gossip.New(gossip.Config{Node: "a", Registry: alone{}, Address: addr, Port: port})
			if err != nil {
				t.Fatal(err)
			}
			err = m.Run(t.Context())
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "--gossip-port (7947 is gvlan's own; 7946 would be Docker swarm's)") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMetadataArrives(t *testing.T) {
	tn := newTown(t)
	a, b := tn.node("a"), tn.node("b")
	a.sees(t, "b", gossip.Alive)
	b.sees(t, "a", gossip.Alive)

	a.SetMeta(gossip.Meta{Flags: gossip.Draining | gossip.Leaving, DNSPort: 53, Parents: 42})
	want := gossip.Meta{Flags: gossip.Draining, DNSPort: 53, Gen: 1, Parents: 42}
	b.until(t, "new metadata", func(members []gossip.Member) bool { return members[0].Meta == want })
}

// TestStartWithoutTheStore starts a node while etcd is down: it finds its
// peers by what it remembered.
func TestStartWithoutTheStore(t *testing.T) {
	tn := newTown(t)
	path := filepath.Join(t.TempDir(), "peers.json")
	remembering := func(c *gossip.Config) { c.Cache = path }
	tn.node("a")
	b := tn.node("b", remembering)
	b.sees(t, "a", gossip.Alive)
	b.stop()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the cache, which holds keys, has mode %o", mode)
	}
	tn.mem.Down()
	t.Cleanup(tn.mem.Up)
	b = tn.run("b", b.addr, remembering)
	b.sees(t, "a", gossip.Alive)
}

func TestAnotherClusterStartsTheMembershipAgain(t *testing.T) {
	tn := newTown(t)
	a, b := tn.node("a"), tn.node("b")
	a.sees(t, "b", gossip.Alive)
	b.sees(t, "a", gossip.Alive)
	tn.put(store.MetaKey(), store.Encode(store.Meta{Schema: store.Schema, UUID: "another"}))
	c := tn.node("c")
	for _, r := range []*resident{a, b} {
		c.sees(t, r.name, gossip.Alive)
		r.sees(t, "c", gossip.Alive)
	}
}
