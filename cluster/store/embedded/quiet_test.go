package embedded_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/cluster/store/etcdtest"
)

// warnings are what is logged as at least a warning.
type warnings struct {
	mu  sync.Mutex
	raw bytes.Buffer
}

func (l *warnings) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw.Write(p)
}

func (l *warnings) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw.String()
}

func (l *warnings) logger(member string) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn})).With("member", member)
}

// busy is what a machine logs that runs other tests as well.
// It resets a connection whose greeting takes it too long.
var busy = []string{"took too long", "connection reset by peer", "slow fdatasync", "failed to send out heartbeat on time", "waiting for ReadIndex response took too long"}

// TestAQuietFormationLogsNothing: three members form, one after the other, one
// hands over and is removed, and all end, and nobody is warned of anything.
func TestAQuietFormationLogsNothing(t *testing.T) {
	var said warnings
	g := &group{of: etcdtest.NewAuthority(t)}
	a := g.prepare(t, "a")
	a.config.Log = said.logger("a")
	a.running = start(t, a.config).ready(t)
	g.connect(t)
	a.id = a.Standing().ID
	for _, name := range []string{"b", "c"} {
		m := g.add(t, name)
		m.config.Log = said.logger(name)
		time.Sleep(500 * time.Millisecond) // its host takes a while to hear of it
		m.running = start(t, m.config).ready(t)
		g.reach(t)
	}
	for _, m := range g.members[1:] {
		eventually(t, func() error { return g.membership.Promote(t.Context(), m.id) })
	}
	put(t, g.client, "/three")
	b, c := g.members[1], g.members[2]
	eventually(t, func() error { return g.membership.MoveLeader(t.Context(), b.id, a.config.Listen.String()) })
	put(t, g.client, "/moved")
	eventually(t, func() error { return g.membership.Remove(t.Context(), c.id) })
	_ = c.ends(t)
	put(t, g.client, "/two")
	eventually(t, func() error { return g.membership.MoveLeader(t.Context(), a.id, b.config.Listen.String()) })
	eventually(t, func() error { return g.membership.Remove(t.Context(), b.id) })
	_ = b.ends(t)
	put(t, g.client, "/one")
	_ = g.membership.Defragment(context.Background(), a.config.Listen.String())
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(said.String()) {
		if !slices.ContainsFunc(busy, func(words string) bool { return strings.Contains(line, words) }) {
			t.Errorf("logged: %s", line)
		}
	}
}
