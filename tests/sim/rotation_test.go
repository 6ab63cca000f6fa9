//go:build !race

package sim

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/gossip"
)

// TestRotation changes the gossip key under a running cluster: nobody may
// lose sight of anybody, nor get a message it cannot read.
func TestRotation(t *testing.T) {
	virtually(t, func(t *testing.T) {
		w := NewWorld(t, 5, 1)
		defer w.Close()
		startTogether(w)
		eventually(t, time.Minute, "ready", func() bool { return allReady(w) })
		time.Sleep(time.Minute)
		before := w.Hosts[0].registry.Known().Keys[0]
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if err := rotation(w).Run(ctx); err != nil {
			t.Fatal(err)
		}
		Bench("rotation_seconds", 5, time.Since(began).Seconds())
		for _, h := range w.Hosts {
			keys := h.registry.Known().Keys
			if len(keys) != 1 || string(keys[0]) == string(before) {
				t.Errorf("%s has %d keys, want one that is new", h.Name, len(keys))
			}
			if refused := h.Member.Counters().RefusedKey; refused != 0 {
				t.Errorf("%s could not read %d messages", h.Name, refused)
			}
			for _, s := range h.Sightings(began) {
				t.Errorf("%s saw %s %s meanwhile", h.Name, s.Node, s.Gossip)
			}
		}
		checkClean(t, w)
	})
}

// TestRotationWaits crashes a host that the store still holds for connected:
// the rotation says whom it waits for, and the old key stays in use.
func TestRotationWaits(t *testing.T) {
	virtually(t, func(t *testing.T) {
		w := NewWorld(t, 5, 1)
		defer w.Close()
		startTogether(w)
		eventually(t, time.Minute, "ready", func() bool { return allReady(w) })
		before := w.Hosts[0].registry.Known().Keys[0]
		w.Hosts[4].Crash()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		err := rotation(w).Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "still waiting for node0004") {
			t.Errorf("got %v", err)
		}
		if keys := w.Hosts[0].registry.Known().Keys; len(keys) != 2 || string(keys[0]) != string(before) {
			t.Errorf("the store holds %d keys, want the old one first", len(keys))
		}
		checkClean(t, w)
	})
}

func rotation(w *World) gossip.Rotation {
	return gossip.Rotation{
		KV:             w.spy.As("operator"),
		Unacknowledged: w.Hosts[0].Member.Unacknowledged,
		Random:         rand.Reader,
	}
}
