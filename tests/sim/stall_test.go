//go:build !race

package sim

import (
	"testing"
	"time"

	"gvlan/cluster/gossip"
)

// TestStalls is the table of false positives: of 50 hosts some hear and say
// everything late, for five minutes. Their containers run on, so nobody who
// is healthy should be taken for dead because of them.
func TestStalls(t *testing.T) {
	const (
		hosts = 50
		span  = 5 * time.Minute
	)
	// Delays of 4 s are to harm nobody healthy. One run in five still has one
	// observer that hears a slow host's verdict before the victim's denial
	// (5 times in 24 runs), so the bar is not 0 but three such in one run.
	const chance = 0.02
	// Delays of 16 s are to harm less than 0.5. Ten means of two runs with 15
	// slow hosts lay between 0.24 and 0.75, their mean at 0.42: what is judged
	// is twice the bar. Without Lifeguard it would be about 90.
	const severe = 1
	tests := []struct {
		name         string
		slow         int
		delay, clear time.Duration
		runs         uint64
		bar          float64 // healthy hosts taken for dead, per healthy pair and hour
	}{
		{"five_4s", 5, 4 * time.Second, time.Second, 1, chance},
		{"fifteen_4s", 15, 4 * time.Second, time.Second, 1, chance},
		{"five_16s", 5, 16 * time.Second, 260 * time.Millisecond, 1, severe},
		{"fifteen_16s", 15, 16 * time.Second, 260 * time.Millisecond, 2, severe},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var healthy, slow Sample
			seeds(t, test.runs, func(t *testing.T, seed uint64) {
				w := NewWorld(t, hosts, seed)
				defer w.Close()
				startTogether(w)
				formed(t, w, time.Minute)
				time.Sleep(time.Minute)
				began := time.Now()
				for time.Since(began) < span {
					for _, h := range w.Hosts[:test.slow] {
						h.Port.Stall(test.delay)
					}
					time.Sleep(test.delay + test.clear)
				}
				healthyDead, slowDead := deaths(w, test.slow, began)
				healthy.Add(float64(healthyDead))
				slow.Add(float64(slowDead))
				checkClean(t, w)
			})
			n := hosts - test.slow
			pairHours := float64(n*(n-1)) * span.Hours()
			Bench("stall_"+test.name+"_slow_dead", hosts, slow.Mean())
			atMost(t, "stall_"+test.name+"_healthy_dead_per_pair_hour", hosts, healthy.Mean()/pairHours, test.bar)
		})
	}
}

// deaths counts what the healthy hosts took for dead since a time: healthy
// hosts and slow ones, which are the first of the world.
func deaths(w *World, slow int, since time.Time) (healthyDead, slowDead int) {
	isSlow := map[string]bool{}
	for _, h := range w.Hosts[:slow] {
		isSlow[h.Name] = true
	}
	for _, h := range w.Hosts[slow:] {
		for _, s := range h.Sightings(since) {
			switch {
			case s.Gossip != gossip.Failed:
			case isSlow[s.Node]:
				slowDead++
			default:
				healthyDead++
			}
		}
	}
	return healthyDead, slowDead
}
