package lab_test

import (
	"net/netip"
	"testing"

	"gvlan/tests/lab"
)

// TestWatch: a watcher sees an address move with a gap, two holders where there
// are two, and who announces what.
func TestWatch(t *testing.T) {
	l := lab.New(t, lab.Options{Hosts: lab.Same(2, lab.NoDocker)})
	h1, h2 := l.Hosts[0], l.Hosts[1]
	moved4, moved6 := netip.MustParseAddr("10.98.0.7"), netip.MustParseAddr("fd98::7")
	both4, both6 := netip.MustParseAddr("10.98.0.8"), netip.MustParseAddr("fd98::8")
	const mac = "02:00:00:00:04:07" // of an address, wherever it is
	hold(t, h1, "moved", mac, moved4.String()+"/24")
	h1.MustExec(t, "ip", "-n", "moved", "addr", "add", moved6.String()+"/64", "dev", "moved", "nodad")
	hold(t, h1, "both", "02:00:00:00:04:08", both4.String()+"/24")
	h1.MustExec(t, "ip", "-n", "both", "addr", "add", both6.String()+"/64", "dev", "both", "nodad")

	w := l.LAN.Watch(t, moved4, moved6, both4, both6)
	await := func(h *lab.Host, addrs ...netip.Addr) {
		t.Helper()
		for _, addr := range addrs {
			if err := w.Await(t.Context(), addr, h.Machine); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(h1, moved4, moved6, both4, both6)
	h1.MustExec(t, "ip", "-n", "moved", "link", "del", "moved")
	hold(t, h2, "moved", mac, moved4.String()+"/24")
	h2.MustExec(t, "ip", "-n", "moved", "addr", "add", moved6.String()+"/64", "dev", "moved", "nodad")
	hold(t, h2, "both", "02:00:00:00:04:08", both4.String()+"/24")
	h2.MustExec(t, "ip", "-n", "both", "addr", "add", both6.String()+"/64", "dev", "both", "nodad")
	h2.MustExec(t, "ip", "netns", "exec", "both", "arping", "-A", "-c", "1", "-I", "both", both4.String())
	await(h2, moved4, moved6, both4, both6)
	seen := w.Stop(t)

	for _, addr := range []netip.Addr{moved4, moved6} {
		if err := seen.OneHolder(addr); err != nil {
			t.Error(err)
		}
		moves := seen.Handovers(addr)
		if len(moves) != 1 || moves[0].From.Port != "p-h1" || moves[0].To.Port != "p-h2" || moves[0].Length() <= 0 {
			t.Errorf("%s moved once, seen: %v", addr, moves)
		}
		t.Log(moves)
	}
	for _, addr := range []netip.Addr{both4, both6} {
		if err := seen.OneHolder(addr); err == nil {
			t.Errorf("%s has two holders, and one was seen", addr)
		}
	}
	announced := false
	for _, c := range seen.Of(both4) {
		announced = announced || c.Kind == lab.Gratuitous && c.Port == "p-h2"
	}
	if !announced {
		t.Errorf("nothing seen of the announcement of %s: %v", both4, seen.Of(both4))
	}
}
