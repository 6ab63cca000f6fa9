//go:build !race

package sim

import (
	"slices"
	"testing"
	"time"

	"gvlan/cluster/gossip"
)

// life is what a cluster that has formed is measured by.
type life struct {
	leave             Sample // from the act until each other host noticed
	crashFirst, crash Sample // until the first and until the last noticed
	packets, bytes    Sample // per host and second, while idle
}

// TestLife holds a formed, quiet cluster to its bars: what it costs, how fast
// a leave and a crash are known to all. The bar for a crash is on the
// median run: the tail is how long the first host takes to probe the victim
// by chance, which happens once a second on average.
func TestLife(t *testing.T) {
	limits := map[int]float64{5: 10, 50: 14, 200: 18, 1000: 25} // seconds until a crash is known
	sizes(t, func(t *testing.T, n int) {
		var l life
		seeds(t, *seedsFlag, func(t *testing.T, seed uint64) { l.play(t, n, seed) })
		Bench("leave_p50_seconds", n, l.leave.At(0.5))
		Bench("crash_first_p50_seconds", n, l.crashFirst.At(0.5))
		Bench("crash_all_p95_seconds", n, l.crash.At(0.95))
		if limit, ok := limits[n]; ok {
			atMost(t, "crash_all_p50_seconds", n, l.crash.At(0.5), limit)
		}
		atMost(t, "leave_p99_seconds", n, l.leave.At(0.99), 1.5)
		atMost(t, "idle_packets_per_second", n, l.packets.At(1), 3)
		atMost(t, "idle_bytes_per_second", n, l.bytes.At(1), 300)
	})
}

func (l *life) play(t *testing.T, n int, seed uint64) {
	w := NewWorld(t, n, seed)
	defer w.Close()
	startTogether(w)
	formed(t, w, 5*time.Minute)
	// News of the formation goes round for a while.
	time.Sleep(10*time.Second + time.Duration(n)*300*time.Millisecond)
	l.idle(w)
	l.leaveOne(t, w)
	l.crashOne(t, w)
	checkClean(t, w)
	checkNoFlaps(t, w)
}

// idle measures what a host sends in a minute of nothing.
func (l *life) idle(w *World) {
	const span = time.Minute
	before := sent(w)
	time.Sleep(span)
	after := sent(w)
	hostSeconds := float64(len(w.Hosts)) * span.Seconds()
	l.packets.Add(float64(after.Packets-before.Packets) / hostSeconds)
	l.bytes.Add(float64(after.Bytes-before.Bytes) / hostSeconds)
}

func sent(w *World) (sum Traffic) {
	for _, h := range w.Hosts {
		one := h.Port.Sent()
		sum.Packets += one.Packets
		sum.Bytes += one.Bytes
	}
	return sum
}

// leaveOne measures how long each host takes to see a host leave.
func (l *life) leaveOne(t *testing.T, w *World) {
	leaver := w.Hosts[w.rand.IntN(len(w.Hosts))]
	began := time.Now()
	leaver.Leave()
	for _, h := range w.Running() {
		l.leave.AddTime(sees(t, h, leaver.Name, gossip.Left, began))
	}
}

// crashOne measures how long each host takes to see a host fail.
func (l *life) crashOne(t *testing.T, w *World) {
	running := w.Running()
	victim := running[w.rand.IntN(len(running))]
	began := time.Now()
	victim.Crash()
	var took []time.Duration
	for _, h := range w.Running() {
		took = append(took, sees(t, h, victim.Name, gossip.Failed, began))
	}
	l.crashFirst.AddTime(slices.Min(took))
	l.crash.AddTime(slices.Max(took))
}

// sees waits until a host sees another in a state and returns how long after
// began it did.
func sees(t *testing.T, h *Host, node string, want gossip.Standing, began time.Time) time.Duration {
	t.Helper()
	var at time.Time
	eventually(t, 5*time.Minute, h.Name+" seeing "+node+" "+string(want), func() bool {
		for _, s := range h.Sightings(began) {
			if s.Node == node && s.Gossip == want {
				at = s.At
				return true
			}
		}
		return false
	})
	return at.Sub(began)
}

// checkNoFlaps asserts that nobody was ever taken for dead and came back.
func checkNoFlaps(t *testing.T, w *World) {
	t.Helper()
	for _, h := range w.Hosts {
		if flaps := h.Member.Counters().Flaps; flaps != 0 {
			t.Errorf("%s saw %d members fail and come back", h.Name, flaps)
		}
	}
}
