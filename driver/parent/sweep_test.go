package parent

import (
	"log/slog"
	"slices"
	"testing"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/driver/netns"
)

// possessions are a host's networks and endpoints, by id.
type possessions struct {
	State
	networks  []journal.Network
	endpoints map[string]journal.Endpoint
}

func (p *possessions) Networks() []journal.Network { return p.networks }

func (p *possessions) Endpoint(id string) (journal.Endpoint, bool) {
	e, ok := p.endpoints[id]
	return e, ok
}

// TestStraysAreNobodys: links of ours that a network or an endpoint has are none,
// nor are others' or what something hangs from; and one that somebody took over
// since it was listed stays.
func TestStraysAreNobodys(t *testing.T) {
	kernel := linktest.New("gvlan")
	kernel.Add(link.Interface{Name: "eth0", Up: true})
	kernel.Add(link.Interface{Name: "eth0.9", Kind: "vlan", Parent: "eth0", VLAN: 9, Up: true}) // not ours
	for _, spec := range []link.Spec{
		{Name: "eth0.87", Kind: link.VLAN, Parent: "eth0", VLAN: 87, Owner: "has"},
		{Name: "eth0.88", Kind: link.VLAN, Parent: "eth0", VLAN: 88, Owner: "gone"},
		{Name: "eth0.89", Kind: link.VLAN, Parent: "eth0", VLAN: 89, Owner: "gone"},
		{Name: "gvd-0", Kind: link.Dummy, Owner: "gone"},
		{Name: "gv1", Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth0", Owner: "lives"},
		{Name: "gv2", Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth0", Owner: "died"},
		{Name: "gv3", Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth0.89", Owner: "lives"},
	} {
		if _, err := kernel.Ensure(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	host := &possessions{networks: []journal.Network{{ID: "n1", Links: []string{"eth0.87"}}}, endpoints: map[string]journal.Endpoint{"lives": {ID: "lives"}}}
	p := New(Config{
		State: host, Links: kernel, Node: "h1", Log: slog.New(slog.DiscardHandler),
		Elsewhere: func() ([]*netns.Namespace, error) { return nil, nil },
	})
	strays := func() (names []string) {
		t.Helper()
		found, err := p.Strays(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range found {
			names = append(names, l.Name)
		}
		return names
	}
	if got, want := strays(), []string{"eth0.88", "gv2", "gvd-0"}; !slices.Equal(got, want) {
		t.Fatalf("strays are %v, want %v", got, want)
	}
	host.endpoints["died"] = journal.Endpoint{ID: "died"}
	for name, want := range map[string]bool{"eth0.88": true, "gv2": false, "eth0.9": false, "none": false} {
		if removed, err := p.RemoveStray(t.Context(), name); removed != want || err != nil {
			t.Errorf("removed %s: %t, %v; want %t", name, removed, err, want)
		}
	}
	if err := p.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strays(); got != nil {
		t.Errorf("after a sweep strays are %v", got)
	}
}
