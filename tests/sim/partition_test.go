//go:build !race

package sim

import (
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster"
)

// TestChaos lets everything go wrong at random, heals it, and holds the
// cluster to what must be so afterwards: everybody is ready in everybody's
// eyes, and the gossip wrote nothing.
func TestChaos(t *testing.T) {
	const acts = 20
	sizes(t, func(t *testing.T, n int) {
		if n > ownDirectory {
			t.Logf("%d hosts share one mirror, which cannot be cut: played with %d", n, ownDirectory)
			n = ownDirectory
		}
		var heal Sample
		seeds(t, max(2, *seedsFlag*5/uint64(n)), func(t *testing.T, seed uint64) {
			w := NewWorld(t, n, seed)
			defer w.Close()
			startTogether(w)
			c := chaos{w: w, cut: map[*Host]bool{}}
			for range acts {
				c.act()
				time.Sleep(time.Duration(w.rand.IntN(60_000)) * time.Millisecond)
			}
			c.heal()
			healed := time.Now()
			eventually(t, 10*time.Minute, "everybody ready for all", func() bool { return allReady(w) })
			heal.AddTime(time.Since(healed))
			checkClean(t, w)
		})
		Bench("chaos_heal_max_seconds", n, heal.At(1))
	})
}

func allReady(w *World) bool {
	for _, h := range w.Hosts {
		states := h.States()
		if len(states) != len(w.Hosts) {
			return false
		}
		for _, state := range states {
			if state != cluster.Ready {
				return false
			}
		}
	}
	return true
}

// chaos plays one random act after the other.
type chaos struct {
	w   *World
	cut map[*Host]bool // from the store
}

func (c *chaos) act() {
	acts := []func(){c.split, c.oneWay, c.mend, c.crash, c.leave, c.start, c.cutStore, c.healStore, c.stall}
	acts[c.w.rand.IntN(len(acts))]()
}

func (c *chaos) any() *Host { return c.w.Hosts[c.w.rand.IntN(len(c.w.Hosts))] }

// split parts the LAN in two or three.
func (c *chaos) split() {
	parts := 2 + c.w.rand.IntN(2)
	side := map[netip.AddrPort]int{}
	for _, h := range c.w.Hosts {
		side[h.Addr] = c.w.rand.IntN(parts)
	}
	c.w.Fabric.Cut(func(from, to netip.AddrPort) bool { return side[from] != side[to] })
}

// oneWay lets some hosts hear nothing of some others, which hear them.
func (c *chaos) oneWay() {
	deaf, mute := map[netip.AddrPort]bool{}, map[netip.AddrPort]bool{}
	for range 1 + len(c.w.Hosts)/5 {
		deaf[c.any().Addr] = true
		mute[c.any().Addr] = true
	}
	c.w.Fabric.Cut(func(from, to netip.AddrPort) bool { return mute[from] && deaf[to] })
}

func (c *chaos) mend() { c.w.Fabric.Cut(nil) }

func (c *chaos) crash() {
	h := c.any()
	h.Crash()
	if c.w.rand.IntN(2) == 0 {
		h.Disconnect() // it stayed away for longer than its lease
	}
}

func (c *chaos) leave() {
	if h := c.any(); h.Runs() {
		h.Leave()
	}
}

func (c *chaos) start() {
	if h := c.any(); !h.Runs() {
		h.Start()
		delete(c.cut, h) // with a new connection to the store
	}
}

func (c *chaos) cutStore() {
	if h := c.any(); h.Runs() && !c.cut[h] {
		h.CutStore()
		c.cut[h] = true
	}
}

func (c *chaos) healStore() {
	for h := range c.cut {
		if h.Runs() {
			h.HealStore()
			delete(c.cut, h)
			return
		}
	}
}

func (c *chaos) stall() {
	if h := c.any(); h.Runs() {
		h.Port.Stall(time.Duration(c.w.rand.IntN(20)) * time.Second)
	}
}

// heal ends all of it.
func (c *chaos) heal() {
	c.mend()
	for _, h := range c.w.Hosts {
		switch {
		case !h.Runs():
			h.Start()
		case c.cut[h]:
			h.HealStore()
		default:
			h.Connect()
		}
	}
}

// TestPartition parts the LAN in half for longer than memberlist remembers
// the dead, and waits until both halves have found each other again.
func TestPartition(t *testing.T) {
	sizes(t, func(t *testing.T, n int) {
		var heal Sample
		seeds(t, max(1, 10/uint64(n)), func(t *testing.T, seed uint64) {
			w := NewWorld(t, n, seed)
			defer w.Close()
			startTogether(w)
			formed(t, w, 5*time.Minute)
			east := map[netip.AddrPort]bool{}
			for _, h := range w.Hosts[:n/2] {
				east[h.Addr] = true
			}
			w.Fabric.Cut(func(from, to netip.AddrPort) bool { return east[from] != east[to] })
			time.Sleep(5 * time.Minute)
			for _, h := range w.Hosts {
				if got, want := h.Member.Answering(), (n+1)/2; got > want {
					t.Errorf("%s gets answers from %d hosts across the partition", h.Name, got-want)
				}
			}
			w.Fabric.Cut(nil)
			healed := time.Now()
			eventually(t, 5*time.Minute, "one cluster again", func() bool { return allReady(w) })
			heal.AddTime(time.Since(healed))
			checkClean(t, w)
		})
		Bench("partition_heal_max_seconds", n, heal.At(1))
	})
}
