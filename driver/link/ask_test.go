package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	own "gvlan/driver/netns"
)

// side is one end of a cable, in a namespace of its own.
type side struct {
	*own.Namespace
	links *netlink.Handle
	card  netlink.Link
}

// cable makes two sides; the second has these addresses.
func cable(t *testing.T, addrs ...string) (near, far side) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	ends := []*side{&near, &far}
	for _, end := range ends {
		var err error
		if end.Namespace, err = own.New(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = end.Close() })
		if end.links, err = netlink.NewHandleAt(netns.NsHandle(end.Fd()), unix.NETLINK_ROUTE); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(end.links.Close)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "card", PeerNamespace: netlink.NsFd(far.Fd())}
	veth.Name = "card"
	if err := near.links.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	for _, end := range ends {
		var err error
		if end.card, err = end.links.LinkByName("card"); err != nil {
			t.Fatal(err)
		}
		if err := end.links.LinkSetUp(end.card); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range addrs {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD // usable at once
		if err := far.links.AddrAdd(far.card, addr); err != nil {
			t.Fatal(err)
		}
	}
	return near, far
}

// TestAsk asks a real kernel, by ARP and by neighbour solicitation.
func TestAsk(t *testing.T) {
	near, _ := cable(t, "192.0.2.7/24", "2001:db8::7/64")
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
			var got []string
			err := near.Do(func() error {
				answering, err := Ask(t.Context(), "card", ask)
				for _, addr := range answering {
					got = append(got, addr.String())
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAskEnds: who is asked to stop does not listen on.
func TestAskEnds(t *testing.T) {
	near, _ := cable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := near.Do(func() error {
		_, err := Ask(ctx, "card", []netip.Addr{netip.MustParseAddr("192.0.2.7")})
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context gives %v, want it to say so", err)
	}
}

// TestAskWhereNobodyCanBe: silence on an interface that is down, or is none of
// Ethernet's, says nothing of who has an address.
func TestAskWhereNobodyCanBe(t *testing.T) {
	near, _ := cable(t, "192.0.2.7/24")
	if err := near.links.LinkSetDown(near.card); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"card": unix.ENETDOWN, "lo": ErrParentType} {
		err := near.Do(func() error {
			_, err := Ask(t.Context(), name, []netip.Addr{netip.MustParseAddr("192.0.2.7")})
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("asking on %s gives %v, want %v", name, err, want)
		}
	}
}

func FuzzAnswered(f *testing.F) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	for _, addr := range []string{"192.0.2.7", "2001:db8::7"} {
		f.Add(probe(netip.MustParseAddr(addr), mac))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if addr, ok := answered(frame, mac); ok && !addr.IsValid() {
			t.Errorf("%x names no address", frame)
		}
	})
}
