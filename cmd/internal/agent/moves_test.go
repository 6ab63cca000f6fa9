package agent

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/description"
	"gvlan/cluster/store"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/config"
)

// newMoves are those of a host of a cluster whose store is in memory.
func newMoves(t *testing.T, mem *storetest.Mem) *moves {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	own, err := hosting.Open(hosting.Config{
		Dir: t.TempDir(), Node: "h1", Host: "h1", Install: "i1", Address: netip.MustParseAddr("192.0.2.1"), Listen: "192.0.2.1:2379", Now: time.Now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := session.New(storetest.NewWire(mem), session.Identity{Node: "h1", Install: "i1", Boot: "boot", Host: "h1"}, noPast{}, log)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &moves{own: own, session: s, log: log, made: make(chan struct{}), stayed: make(chan struct{})}
}

// noPast remembers nothing.
type noPast struct{}

// LoadPast implements session.Past.
func (noPast) LoadPast() (session.Memory, error) { return session.Memory{}, nil }

// SavePast implements session.Past.
func (noPast) SavePast(session.Memory) error { return nil }

// TestStays: a host whose agent ended while it left its cluster has the mark of that
// no more, with which it could have no place in the store.
func TestStays(t *testing.T) {
	mem := storetest.NewMem()
	m := newMoves(t, mem)
	<-m.session.Opened()
	if err := description.Publish(t.Context(), m.session, store.Node{Node: "h1"}); err != nil {
		t.Fatal(err)
	}
	if err := description.Leave(t.Context(), m.session, "h1", true); err != nil {
		t.Fatal(err)
	}
	if err := m.stay(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-m.stayed
	item, err := m.session.Get(t.Context(), store.NodeKey("h1"))
	if err != nil {
		t.Fatal(err)
	}
	if record, err := store.Decode[store.Node](item); err != nil || record.Leaving {
		t.Errorf("it is described as %+v (%v), want one that stays", record, err)
	}
}

// TestOneMove: who asks for a move while another is done is told so at once.
func TestOneMove(t *testing.T) {
	m := newMoves(t, storetest.NewMem())
	err := m.move(func(*hosting.Store) error { return m.move(func(*hosting.Store) error { return nil }) })
	if err == nil || !strings.Contains(err.Error(), "is being done on this host") {
		t.Errorf("a move during another ended with %v", err)
	}
	if m.outcome() != nil {
		t.Error("the agent is to begin anew, though nothing was done")
	}
}

// TestPluginStays: a managed plugin that is solo would give the addresses of others.
func TestPluginStays(t *testing.T) {
	m := newMoves(t, storetest.NewMem())
	m.settings = config.Config{Swarm: true}
	if _, err := m.leave(httptest.NewRequest("POST", "/", nil)); err == nil || !strings.Contains(err.Error(), "managed plugin") {
		t.Errorf("a managed plugin left: %v", err)
	}
}
