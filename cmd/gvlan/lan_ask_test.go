package main

import (
	"context"
	"maps"
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

// TestAskLAN asks a real kernel, by ARP and by neighbour solicitation.
func TestAskLAN(t *testing.T) {
	near, _ := cable(t, "192.0.2.7/24", "2001:db8::7/64")
	tests := []struct {
		name string
		ask  []string
		want []string
	}{
		{"IPv4", []string{"192.0.2.7", "192.0.2.8"}, []string{"192.0.2.7"}},
		{"IPv6", []string{"2001:db8::7", "2001:db8::8"}, []string{"2001:db8::7"}},
		{"nobody", []string{"192.0.2.9"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var ask []netip.Addr
			for _, text := range test.ask {
				ask = append(ask, netip.MustParseAddr(text))
			}
			on := askedOn{near.card.Attrs().Index, protocolOf(ask[0])}
			answers := make(chan netip.Addr, 1000)
			if err := near.Do(func() error { return on.whoHas(t.Context(), ask, answers) }); err != nil {
				t.Fatal(err)
			}
			close(answers)
			found := map[string]bool{}
			for addr := range answers {
				found[addr.String()] = true
			}
			if diff := cmp.Diff(test.want, slices.Sorted(maps.Keys(found)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAskLANEnds: who is asked to stop does not listen on.
func TestAskLANEnds(t *testing.T) {
	near, _ := cable(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	on := askedOn{near.card.Attrs().Index, unix.ETH_P_ARP}
	if err := near.Do(func() error { return on.whoHas(ctx, []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil) }); err == nil {
		t.Error("an ended context is no error")
	}
}

func FuzzAnswer(f *testing.F) {
	from := asker{2, 0, 0, 0, 0, 1}
	for _, addr := range []string{"192.0.2.7", "2001:db8::7"} {
		f.Add(from.question(netip.MustParseAddr(addr)))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if addr, ok := from.answer(frame); ok && !addr.IsValid() {
			t.Errorf("%x names no address", frame)
		}
	})
}
