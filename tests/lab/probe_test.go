package lab_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/tests/lab"
)

// hold makes a host hold an address as a container does: on a macvlan link in a
// namespace of its own.
func hold(t *testing.T, h *lab.Host, name, mac, addr string) {
	t.Helper()
	h.MustExec(t, "ip", "link", "add", "link", "eth1", "name", name, "address", mac,
		"type", "macvlan", "mode", "bridge")
	h.MustExec(t, "ip", "netns", "add", name)
	h.MustExec(t, "ip", "link", "set", name, "netns", name)
	h.MustExec(t, "ip", "-n", name, "link", "set", name, "up")
	h.MustExec(t, "ip", "-n", name, "addr", "add", addr, "dev", name, "nodad")
}

func TestWhoHasCountsHolders(t *testing.T) {
	l := lab.New(t, lab.Options{Hosts: lab.Same(2, lab.NoDocker)})
	h1, h2 := l.Hosts[0], l.Hosts[1]
	hold(t, h1, "a4", "02:00:00:00:04:07", "10.98.0.7/24")
	hold(t, h1, "b4", "02:00:00:00:04:08", "10.98.0.8/24")
	hold(t, h2, "c4", "02:00:00:00:04:08", "10.98.0.8/24")
	hold(t, h1, "d4", "06:00:00:00:04:06", "10.98.0.6/24")
	hold(t, h1, "e4", "06:00:00:00:04:16", "10.98.0.6/24")
	hold(t, h1, "a6", "02:00:00:00:06:07", "fd98::7/64")
	hold(t, h1, "b6", "02:00:00:00:06:08", "fd98::8/64")
	hold(t, h2, "c6", "02:00:00:00:06:08", "fd98::8/64")
	tests := []struct {
		name, addr string
		want       []string // ports
	}{
		{"nobody has it", "10.98.0.9", nil},
		{"one holder", "10.98.0.7", []string{"p-h1"}},
		{"a duplicate with one MAC", "10.98.0.8", []string{"p-h1", "p-h2"}},
		{"a duplicate on one host", "10.98.0.6", []string{"p-h1", "p-h1"}},
		{"a host's own address", "10.99.0.2", []string{"p-h2"}},
		{"nobody has it, IPv6", "fd98::9", nil},
		{"one holder, IPv6", "fd98::7", []string{"p-h1"}},
		{"a duplicate with one MAC, IPv6", "fd98::8", []string{"p-h1", "p-h2"}},
		{"a host's own address, IPv6", "fd99::2", []string{"p-h2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answers, err := l.WhoHas(t.Context(), netip.MustParseAddr(tt.addr))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range answers {
				got = append(got, a.Port)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ports that answered (-want +got):\n%s", diff)
			}
		})
	}
}
