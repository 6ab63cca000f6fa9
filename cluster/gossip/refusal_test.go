package gossip_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"gvlan/cluster/gossip"
)

// alone is a registry that knows a cluster and keys and nobody.
type alone struct {
	id   string
	keys [][]byte
}

func (a alone) Known() gossip.Known { return gossip.Known{Cluster: a.id, Keys: a.keys} }

func (a alone) Changed() <-chan struct{} { return nil }

// counted waits until a node's counters satisfy want.
func (r *resident) counted(t *testing.T, what string, want func(gossip.Counters) bool) {
	t.Helper()
	for range 60_000 {
		if want(r.Counters()) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%s never counted %s: %+v", r.name, what, r.Counters())
}

// TestStrangersAreRefused lets agents without the key, and of another
// cluster, join by address.
func TestStrangersAreRefused(t *testing.T) {
	tests := []struct {
		name     string
		registry func(right alone) alone
		counted  func(gossip.Counters) bool
	}{
		{
			"another key",
			func(right alone) alone { return alone{right.id, [][]byte{bytes.Repeat([]byte{7}, 32)}} },
			func(c gossip.Counters) bool { return c.RefusedKey > 0 },
		},
		{
			"another cluster",
			func(right alone) alone { return alone{"another", right.keys} },
			func(c gossip.Counters) bool { return c.RefusedCluster > 0 },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tn := newTown(t)
			home := tn.node("home")
			home.sees(t, "home", gossip.Alive)
			known := home.dir.Known()
			stranger := tn.run("stranger", netip.MustParseAddr("127.0.7.99"), func(c *gossip.Config) {
				c.Registry = test.registry(alone{known.Cluster, known.Keys})
				c.Join = []string{home.addr.String()}
			})
			home.counted(t, test.name, test.counted)
			for _, r := range []*resident{home, stranger} {
				if n := r.Answering(); n != 1 {
					t.Errorf("%s gets answers from %d nodes, want itself", r.name, n)
				}
			}
		})
	}
}

// TestConditionsOfTheLog provokes what memberlist tells in its log only, so
// that an upgrade which words it differently is noticed.
func TestConditionsOfTheLog(t *testing.T) {
	tn := newTown(t)
	home := tn.node("home")
	home.sees(t, "home", gossip.Alive)
	id := home.dir.Known().Cluster
	label := append([]byte{244, byte(len(id))}, id...)
	const (
		pushPull  = 6  // memberlist's message types
		encrypted = 10 // a stream that says it is encrypted
	)
	garbled := binary.BigEndian.AppendUint32([]byte{encrypted}, 40)
	garbled = append(garbled, 1)
	garbled = append(garbled, make([]byte, 39)...)
	tests := []struct {
		name, network string
		raw           []byte
		count         func(gossip.Counters) uint64
	}{
		{"a packet of another cluster", "udp", []byte("\xf4\x05other....."), refusedCluster},
		{"a stream of another cluster", "tcp", []byte("\xf4\x05other....."), refusedCluster},
		{"a packet without a label", "udp", []byte("......"), refusedCluster},
		{"a packet in clear, of an unknown version", "udp", append(bytes.Clone(label), "\x03....."...), refusedKey},
		{"a packet in clear, too short", "udp", append(bytes.Clone(label), "\x01....."...), refusedKey},
		{"a packet nobody has the key of", "udp", append(bytes.Clone(label), append([]byte{1}, make([]byte, 50)...)...), refusedKey},
		{"a stream in clear", "tcp", append(bytes.Clone(label), pushPull), refusedKey},
		{"a stream nobody has the key of", "tcp", append(bytes.Clone(label), garbled...), refusedKey},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := test.count(home.Counters())
			conn, err := net.Dial(test.network, netip.AddrPortFrom(home.addr, tn.port).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(test.raw); err != nil {
				t.Fatal(err)
			}
			home.counted(t, test.name, func(c gossip.Counters) bool { return test.count(c) > before })
		})
	}
}

func refusedCluster(c gossip.Counters) uint64 { return c.RefusedCluster }

func refusedKey(c gossip.Counters) uint64 { return c.RefusedKey }

// TestStatesAreBounded: who has no key is not listened to without end.
func TestStatesAreBounded(t *testing.T) {
	tn := newTown(t)
	home := tn.node("home")
	home.sees(t, "home", gossip.Alive)
	id := home.dir.Known().Cluster
	conn, err := net.Dial("tcp", netip.AddrPortFrom(home.addr, tn.port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const encrypted, size = 10, 19 << 20 // a stream that says it is encrypted, and as long as memberlist takes
	said := binary.BigEndian.AppendUint32(append(append([]byte{244, byte(len(id))}, id...), encrypted), size)
	if _, err := conn.Write(said); err != nil {
		t.Fatal(err)
	}
	if written, err := io.Copy(conn, io.LimitReader(zeros{}, size)); err == nil {
		t.Errorf("all %d bytes were taken", written)
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// noUDP is a transport whose packets a firewall eats.
type noUDP struct{ *memberlist.NetTransport }

func (noUDP) WriteTo([]byte, string) (time.Time, error) { return time.Now(), nil }

func (noUDP) WriteToAddress([]byte, memberlist.Address) (time.Time, error) {
	return time.Now(), nil
}

func TestUDPBlockedIsCounted(t *testing.T) {
	tn := newTown(t)
	a := tn.node("a", func(c *gossip.Config) {
		inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{c.Address.String()}, BindPort: int(c.Port)})
		if err != nil {
			t.Fatal(err)
		}
		c.Transport = noUDP{inner}
	})
	b := tn.node("b")
	a.sees(t, "b", gossip.Alive)
	b.sees(t, "a", gossip.Alive)
	a.counted(t, "blocked UDP", func(c gossip.Counters) bool { return c.UDPBlocked > 0 })
}
