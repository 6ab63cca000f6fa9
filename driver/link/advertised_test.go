package link_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"gvlan/driver/link"
)

// settingsOf are accept_ra and autoconf of an interface.
func (w world) settingsOf(t *testing.T, ifname string) (all string) {
	t.Helper()
	w.do(t, func() error {
		return w.ns.Do(func() error {
			for _, key := range []string{"accept_ra", "autoconf"} {
				value, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + ifname + "/" + key)
				if err != nil {
					return err
				}
				all += strings.TrimSpace(string(value)) + " "
			}
			return nil
		})
	})
	return strings.TrimSpace(all)
}

// TestHeed: a link that comes into a namespace has the kernel's settings,
// whatever it had; then it has those that were asked for, and what it learnt
// goes.
func TestHeed(t *testing.T) {
	from, inside := newWorld(t), newWorld(t)
	from.card(t, "eth0")
	heed := func(a link.Advertised) (settled bool, err error) {
		err = inside.ns.Do(func() (err error) { settled, err = link.Heed("ep-gv1", a); return err })
		return settled, err
	}
	if _, err := heed(link.AdvertisedOff); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("without the link: %v, want that it is not found", err)
	}
	if _, err := from.Ensure(t.Context(), endpoint("gv1", "eth0")); err != nil {
		t.Fatal(err)
	}
	from.do(t, func() error {
		return from.ns.Do(func() error { _, err := link.Heed("ep-gv1", link.AdvertisedOff); return err })
	})
	from.do(t, func() error { return from.handle.LinkSetNsFd(from.link(t, "gv1"), inside.ns.Fd()) })
	if got := inside.settingsOf(t, "gv1"); got != "1 1" {
		t.Errorf("a link that was moved has %s: this kernel keeps settings, and need not be told again", got)
	}
	if settled, err := heed(link.AdvertisedOn); settled || err != nil || inside.settingsOf(t, "gv1") != "2 1" {
		t.Errorf("on, before it is up: settled %t, %v, settings %s, want 2 1 and not settled", settled, err, inside.settingsOf(t, "gv1"))
	}
	l := inside.link(t, "gv1")
	inside.do(t, func() error { return inside.handle.LinkSetUp(l) })
	address := func(text string, lasts int) {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		inside.do(t, func() error {
			return inside.handle.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: n.Mask}, ValidLft: lasts, PreferedLft: lasts})
		})
	}
	address("fd01::5/64", 0)
	address("fd77::9/64", 600)
	learnt := func() (all []netip.Prefix) {
		inside.do(t, func() error {
			return inside.ns.Do(func() (err error) { all, err = link.Learnt("ep-gv1"); return err })
		})
		return all
	}
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff([]netip.Prefix{netip.MustParsePrefix("fd77::9/64")}, learnt(), same); diff != "" {
		t.Errorf("learnt (-want +got):\n%s", diff)
	}
	if settled, err := heed(link.AdvertisedOff); !settled || err != nil || inside.settingsOf(t, "gv1") != "0 0" {
		t.Errorf("off: settled %t, %v, settings %s, want 0 0", settled, err, inside.settingsOf(t, "gv1"))
	}
	if left := learnt(); len(left) != 0 {
		t.Errorf("off leaves %v", left)
	}
	addrs, err := inside.handle.AddrList(l, netlink.FAMILY_V6)
	if err != nil || !strings.Contains(addrsText(addrs), "fd01::5/64") {
		t.Errorf("the leased address is gone: %v, %v", addrs, err)
	}
}

func addrsText(addrs []netlink.Addr) string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.IPNet.String())
	}
	return strings.Join(all, " ")
}
