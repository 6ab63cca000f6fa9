//go:build !race

package sim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
)

// TestStates brings five hosts into every state and back.
func TestStates(t *testing.T) {
	tests := []struct {
		name  string
		fault func(w *World)
		mend  func(w *World)
		want  cluster.State // of the last host, as the first judges it
	}{
		{
			name:  "cut off from its peers",
			fault: func(w *World) { isolate(w, w.Hosts[4]) },
			mend:  func(w *World) { w.Fabric.Cut(nil) },
			want:  cluster.Unreachable,
		},
		{
			name:  "cut off from the store",
			fault: func(w *World) { w.Hosts[4].CutStore() },
			mend:  func(w *World) { w.Hosts[4].HealStore() },
			want:  cluster.Detached,
		},
		{
			name:  "killed, and its lease not over yet",
			fault: func(w *World) { w.Hosts[4].Crash() },
			mend:  func(w *World) { w.Hosts[4].Start() },
			want:  cluster.Unreachable,
		},
		{
			name:  "killed",
			fault: func(w *World) { w.Hosts[4].Crash(); w.Hosts[4].Disconnect() },
			mend:  func(w *World) { w.Hosts[4].Start() },
			want:  cluster.Down,
		},
		{
			name:  "stopped",
			fault: func(w *World) { w.Hosts[4].Leave() },
			mend:  func(w *World) { w.Hosts[4].Start() },
			want:  cluster.Down,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			virtually(t, func(t *testing.T) {
				w := NewWorld(t, 5, 1)
				defer w.Close()
				startTogether(w)
				eventually(t, time.Minute, "ready", func() bool { return allReady(w) })
				test.fault(w)
				want := map[string]cluster.State{"node0000": cluster.Ready, "node0001": cluster.Ready, "node0002": cluster.Ready, "node0003": cluster.Ready, "node0004": test.want}
				eventually(t, 2*time.Minute, "judged so", func() bool { return cmp.Equal(want, w.Hosts[0].States()) })
				time.Sleep(2 * time.Minute)
				if diff := cmp.Diff(want, w.Hosts[0].States()); diff != "" {
					t.Errorf("states later (-want +got):\n%s", diff)
				}
				test.mend(w)
				eventually(t, 2*time.Minute, "healed", func() bool { return allReady(w) })
				checkClean(t, w)
			})
		})
	}
}

// TestUpgrade stops a host without a leave and starts it again: nobody sees
// it go, so that no name moves to the end of an answer. A leave is seen.
func TestUpgrade(t *testing.T) {
	tests := []struct {
		name string
		stop func(*Host)
		want []gossip.Standing // that each of the others saw
	}{
		{"upgraded", (*Host).Crash, nil},
		{"stopped", (*Host).Leave, []gossip.Standing{gossip.Left, gossip.Alive}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			virtually(t, func(t *testing.T) {
				w := NewWorld(t, 5, 1)
				defer w.Close()
				startTogether(w)
				eventually(t, time.Minute, "ready", func() bool { return allReady(w) })
				time.Sleep(time.Minute)
				began := time.Now()
				test.stop(w.Hosts[4])
				time.Sleep(time.Second)
				w.Hosts[4].Start()
				time.Sleep(2 * time.Minute)
				if !allReady(w) {
					t.Errorf("not everybody is ready again: %v", w.Hosts[0].States())
				}
				for _, h := range w.Hosts[:4] {
					var saw []gossip.Standing
					for _, s := range h.Sightings(began) {
						if s.Gossip != s.Before {
							saw = append(saw, s.Gossip)
						}
					}
					if diff := cmp.Diff(test.want, saw); diff != "" {
						t.Errorf("%s saw (-want +got):\n%s", h.Name, diff)
					}
				}
				checkNoFlaps(t, w)
				checkClean(t, w)
			})
		})
	}
}

// isolate cuts a host off from all others.
func isolate(w *World, h *Host) {
	w.Fabric.Cut(func(from, to netip.AddrPort) bool { return (from == h.Addr) != (to == h.Addr) })
}

// TestOneWayFault makes one host deaf to another: neither is taken for dead,
// since third ones vouch for them, and only the two see the fault, by the age
// of the last direct answer.
func TestOneWayFault(t *testing.T) {
	virtually(t, func(t *testing.T) {
		w := NewWorld(t, 5, 1)
		defer w.Close()
		startTogether(w)
		eventually(t, time.Minute, "ready", func() bool { return allReady(w) })
		time.Sleep(time.Minute)
		mute, deaf := w.Hosts[1], w.Hosts[3]
		w.Fabric.Cut(func(from, to netip.AddrPort) bool { return from == mute.Addr && to == deaf.Addr })
		began := time.Now()
		time.Sleep(3 * time.Minute)
		if !allReady(w) {
			t.Errorf("a fault between two made somebody else than ready: %v", deaf.States())
		}
		for _, h := range w.Hosts {
			for _, m := range h.Member.Members() {
				silent := m.Node != h.Name && m.Direct.Before(began.Add(5*time.Second))
				between := h == deaf && m.Node == mute.Name || h == mute && m.Node == deaf.Name
				if silent != between {
					t.Errorf("%s heard from %s directly %s after the fault began", h.Name, m.Node, m.Direct.Sub(began))
				}
			}
		}
		checkClean(t, w)
	})
}
