package cleanup_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/cleanup"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/driver/netns"
	"gvlan/driver/route"
	"gvlan/driver/route/routetest"
)

// host is one that an agent was stopped on, with one container that runs.
type host struct {
	t       *testing.T
	links   *linktest.Kernel
	routes  *routetest.Kernel
	sandbox *netns.Namespace
}

func newHost(t *testing.T) host {
	t.Helper()
	h := host{t: t, links: linktest.New("gvlan")}
	h.links.Add(link.Interface{Name: "eth0", Up: true})
	h.routes = routetest.New(h.names)
	var err error
	if h.sandbox, err = netns.Current(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h host) names() (all []string) {
	have, err := h.links.Interfaces(context.Background())
	if err != nil {
		h.t.Error(err)
	}
	for _, i := range have {
		all = append(all, i.Name)
	}
	owned, err := h.links.Owned(context.Background())
	if err != nil {
		h.t.Error(err)
	}
	for _, l := range owned {
		if !slices.Contains(all, l.Name) {
			all = append(all, l.Name)
		}
	}
	slices.Sort(all)
	return all
}

func (h host) make(specs ...link.Spec) {
	h.t.Helper()
	for _, s := range specs {
		if _, err := h.links.Ensure(h.t.Context(), s); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h host) vlans(vids ...int) {
	h.t.Helper()
	if _, err := h.links.EnsureVLANs(h.t.Context(), "eth0", vids, "net"); err != nil {
		h.t.Fatal(err)
	}
}

func (h host) clean() (cleanup.Cleaned, error) {
	return cleanup.Clean(h.t.Context(), cleanup.Host{Links: h.links, Routes: h.routes, Elsewhere: func() ([]*netns.Namespace, error) {
		return []*netns.Namespace{h.sandbox}, nil
	}})
}

// TestClean: all goes but what a running container's link hangs from, and what others
// made.
func TestClean(t *testing.T) {
	h := newHost(t)
	h.links.Add(link.Interface{Name: "eth0.9", Kind: "vlan", Parent: "eth0", VLAN: 9, Up: true}) // somebody's own
	h.vlans(65, 7)
	h.vlans(66)
	h.vlans(67, 8)
	h.make(
		link.Spec{Name: "gv-runs", Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth0.65.7", Owner: "e1"},
		link.Spec{Name: "gv-ended", Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth0.66", Owner: "e2"},
		link.Spec{Name: "gvs-1", Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth0.65.7", Owner: "shim", Shim: true},
	)
	if err := h.links.Move("gv-runs", h.sandbox.Fd(), "eth0"); err != nil {
		t.Fatal(err)
	}
	ours := []route.Route{
		{Dst: netip.MustParsePrefix("10.0.0.2/32"), Link: "gvs-1"},
		{Dst: netip.MustParsePrefix("10.1.0.0/26"), Via: netip.MustParseAddr("192.168.1.11"), Link: "eth0"},
		{Dst: netip.MustParsePrefix("10.1.0.64/26"), Unreachable: true},
	}
	if err := h.routes.Set(t.Context(), func(string) bool { return true }, route.State{Routes: ours}); err != nil {
		t.Fatal(err)
	}

	got, err := h.clean()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Links)
	slices.Sort(got.Kept)
	want := cleanup.Cleaned{
		Links:  []string{"eth0.66", "eth0.67", "eth0.67.8", "gv-ended", "gvs-1"},
		Routes: ours, Kept: []string{"eth0.65", "eth0.65.7"},
	}
	equal := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("cleaned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"eth0", "eth0.65", "eth0.65.7", "eth0.9", "lo"}, h.names()); diff != "" {
		t.Errorf("links of the host then (-want +got):\n%s", diff)
	}
	if left, err := h.routes.Ours(t.Context()); err != nil || len(left.Routes) > 0 {
		t.Errorf("routes of ours then: %v, %v", left.Routes, err)
	}
}

// TestCleanGoesOn: one link that cannot be removed keeps no other.
func TestCleanGoesOn(t *testing.T) {
	h := newHost(t)
	h.vlans(65)
	h.vlans(66)
	broken := errors.New("device or resource busy")
	h.links.Before(func(method, name string) error {
		if method == "Remove" && name == "eth0.65" {
			return broken
		}
		return nil
	})
	got, err := h.clean()
	if !errors.Is(err, broken) || !slices.Equal(got.Links, []string{"eth0.66"}) {
		t.Errorf("cleaned %+v with the error %v, want eth0.66 removed, and why eth0.65 is not", got, err)
	}
}

// TestBlindCleanKeepsLinks: who cannot look into containers removes no link.
func TestBlindCleanKeepsLinks(t *testing.T) {
	h := newHost(t)
	h.vlans(65)
	blind := errors.New("permission denied")
	_, err := cleanup.Clean(t.Context(), cleanup.Host{Links: h.links, Routes: h.routes, Elsewhere: func() ([]*netns.Namespace, error) { return nil, blind }})
	if !errors.Is(err, blind) || !slices.Contains(h.names(), "eth0.65") {
		t.Errorf("error %v, links %v; want eth0.65 kept", err, h.names())
	}
}
