package link_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gvlan/driver/link"
)

// nextTo is a world with a link eth0 to another one, which has these
// addresses.
func nextTo(t *testing.T, addresses ...string) world {
	t.Helper()
	near, far := newWorld(t), newWorld(t)
	wire(t, near, far)
	for _, text := range addresses {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD // usable at once
		far.do(t, func() error { return far.handle.AddrAdd(far.link(t, "eth0"), addr) })
	}
	return near
}

// ask asks in the world's namespace.
func (w world) ask(ctx context.Context, name string, addrs ...netip.Addr) (answering []netip.Addr, err error) {
	err = w.ns.Do(func() error {
		answering, err = link.Ask(ctx, name, addrs)
		return err
	})
	return answering, err
}

// TestAsk asks a real kernel, by ARP and by neighbour solicitation.
func TestAsk(t *testing.T) {
	near := nextTo(t, "192.0.2.7/24", "2001:db8::7/64")
	tests := []struct {
		name string
		ask  []string
		want []string
	}{
		{"IPv4", []string{"192.0.2.7", "192.0.2.8"}, []string{"192.0.2.7"}},
		{"IPv6", []string{"2001:db8::7", "2001:db8::8"}, []string{"2001:db8::7"}},
		{"both", []string{"2001:db8::7", "192.0.2.7", "192.0.2.8"}, []string{"192.0.2.7", "2001:db8::7"}},
		{"nobody", []string{"192.0.2.9"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var ask []netip.Addr
			for _, text := range test.ask {
				ask = append(ask, netip.MustParseAddr(text))
			}
			answering, err := near.ask(t.Context(), "eth0", ask...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, addr := range answering {
				got = append(got, addr.String())
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnswersNameWho: each answer is told with the hardware address it came
// from, and a host that was met is a neighbour.
func TestAnswersNameWho(t *testing.T) {
	near, far := newWorld(t), newWorld(t)
	wire(t, near, far)
	peer := far.link(t, "eth0").Attrs().HardwareAddr
	for _, text := range []string{"192.0.2.7/24", "2001:db8::7/64"} {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD // usable at once
		far.do(t, func() error { return far.handle.AddrAdd(far.link(t, "eth0"), addr) })
	}
	v4, v6, none := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("192.0.2.8")
	var got map[netip.Addr][]net.HardwareAddr
	in := func(ask func() error) {
		t.Helper()
		if err := near.ns.Do(ask); err != nil {
			t.Fatal(err)
		}
	}
	in(func() (err error) {
		got, err = link.Answers(t.Context(), "eth0", []netip.Addr{v4, v6, none})
		return err
	})
	if diff := cmp.Diff(map[netip.Addr][]net.HardwareAddr{v4: {peer}, v6: {peer}}, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	near.do(t, func() error {
		return near.handle.NeighAdd(&netlink.Neigh{LinkIndex: near.link(t, "eth0").Attrs().Index, State: unix.NUD_REACHABLE, IP: v4.AsSlice(), HardwareAddr: peer})
	})
	var met []link.Neighbour
	in(func() (err error) {
		met, err = link.Neighbours("eth0")
		return err
	})
	if !slices.ContainsFunc(met, func(n link.Neighbour) bool { return n.Address == v4 && n.MAC.String() == peer.String() }) {
		t.Errorf("neighbours %v, want %s at %s", met, v4, peer)
	}
}

// TestAskEnds: who is asked to stop does not listen on.
func TestAskEnds(t *testing.T) {
	near := nextTo(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := near.ask(ctx, "eth0", netip.MustParseAddr("192.0.2.7"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context gives %v, want it to say so", err)
	}
}

// TestAskWhereNobodyCanBe: silence on an interface that is down, or is none of
// Ethernet's, says nothing of who has an address.
func TestAskWhereNobodyCanBe(t *testing.T) {
	near := nextTo(t, "192.0.2.7/24")
	near.setDown(t, "eth0")
	for name, want := range map[string]error{"eth0": unix.ENETDOWN, "lo": link.ErrParentType} {
		_, err := near.ask(t.Context(), name, netip.MustParseAddr("192.0.2.7"))
		if !errors.Is(err, want) {
			t.Errorf("asking on %s gives %v, want %v", name, err, want)
		}
	}
}

func FuzzAnswered(f *testing.F) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, addr := range []string{"192.0.2.7", "2001:db8::7"} {
		f.Add(link.Probe(netip.MustParseAddr(addr), mac))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if addr, by, ok := link.Answered(frame, mac); ok && (!addr.IsValid() || len(by) != 6) {
			t.Errorf("%x names no address, or nobody: %s at %s", frame, addr, by)
		}
	})
}
