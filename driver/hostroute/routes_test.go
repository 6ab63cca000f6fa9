package hostroute_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/hostroute"
	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/driver/parent"
	"gvlan/driver/route"
	"gvlan/driver/route/routetest"
	"gvlan/ipam/node"
)

// distrusted is a node whose store is away.
type distrusted struct{ node.Authority }

func (distrusted) Node() string   { return "h1" }
func (distrusted) Trusted() error { return store.ErrUnavailable }

// beforeSet are routes of a host where something happens just before each look at
// them.
type beforeSet struct {
	*routetest.Kernel
	before func()
	set    chan error
}

func (b beforeSet) Set(ctx context.Context, reach func(link string) bool, want route.State) error {
	b.before()
	err := b.Kernel.Set(ctx, reach, want)
	b.set <- err
	return err
}

// TestShimsThatCome: a shim that comes just before a look at the host's routes keeps
// those that leave by it. Nobody else would notice that they went.
func TestShimsThatCome(t *testing.T) {
	links := linktest.New("gvlan")
	links.Add(link.Interface{Name: "eth1", Up: true})
	shim := link.Shim("gvlan", "h1", "eth1", link.Ipvlan, link.L3, "")
	kernel := routetest.New(func() []string { return []string{"eth1", shim.Name} })
	way := route.State{Routes: []route.Route{{Dst: pfx("10.1.0.9/32"), Link: shim.Name}}}
	come := func() {
		if _, err := links.Ensure(t.Context(), shim); err != nil {
			t.Error(err)
		}
		if err := kernel.Set(t.Context(), func(name string) bool { return name == shim.Name }, way); err != nil {
			t.Error(err)
		}
	}
	kept, err := disk.Open(filepath.Join(t.TempDir(), "journal.db"), "boot", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	memory, err := journal.Recall(kept)
	if err != nil {
		t.Fatal(err)
	}
	routes := beforeSet{kernel, come, make(chan error, 10)}
	if err := memory.Change(func(c *journal.Change) error { c.Put(journal.Network{ID: "n", Stage: journal.StageLocal}); return nil }); err != nil {
		t.Fatal(err)
	}
	h := &host.Host{
		Cfg: host.Config{Links: links, Routes: routes}, Self: distrusted{}, Memory: memory,
		Parents: parent.New(parent.Config{State: memory, Links: links}), Now: time.Now, Log: slog.New(slog.DiscardHandler), Ways: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- hostroute.New(h).Keep(ctx) }()
	if err := <-routes.set; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if has, _ := kernel.Ours(t.Context()); len(has.Routes) != 1 {
		t.Errorf("the host has %v, want the route by the shim", has.Routes)
	}
}
