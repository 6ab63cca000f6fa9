//go:build !race

package sim

import (
	"testing"
	"time"
)

// startTogether starts every host of a world within 200 ms, as a rack that
// gets its power back.
func startTogether(w *World) {
	for _, h := range w.Hosts {
		h.Start()
		time.Sleep(200 * time.Millisecond / time.Duration(len(w.Hosts)))
	}
}

// formed waits until every host sees every other.
func formed(t *testing.T, w *World, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "all hosts seen by all", func() bool {
		for _, h := range w.Hosts {
			if _, ok := h.Formed(); !ok {
				return false
			}
		}
		return true
	})
}

func TestFormation(t *testing.T) {
	bars := map[int]float64{5: 1, 50: 3, 200: 6, 1000: 10} // seconds
	sizes(t, func(t *testing.T, n int) {
		var ours, naive Sample
		seeds(t, *seedsFlag, func(t *testing.T, seed uint64) { formation(t, n, seed, &ours) })
		if bar, ok := bars[n]; ok {
			atMost(t, "formation_p50_seconds", n, ours.At(0.5), bar)
			// A busy machine schedules the hosts so that now and then a first
			// join misses: then the next round of joins forms the cluster.
			atMost(t, "formation_p95_seconds", n, ours.At(0.95), bar+rejoin)
		}
		if n > naiveLimit {
			return
		}
		seeds(t, *seedsFlag, func(t *testing.T, seed uint64) { formation(t, n, seed, &naive, Naive) })
		// The naive way is lucky now and then: which is better shows over many runs.
		Bench("formation_naive_p95_seconds", n, naive.At(0.95))
	})
}

// rejoin is how soon a node that misses somebody joins again, in seconds.
const rejoin = 2

// naiveLimit is the largest cluster that is also formed the naive way.
const naiveLimit = 200

func formation(t *testing.T, n int, seed uint64, sample *Sample, options ...Option) {
	w := NewWorld(t, n, seed, options...)
	defer w.Close()
	began := time.Now()
	startTogether(w)
	formed(t, w, 10*time.Minute)
	sample.AddTime(time.Since(began))
	checkClean(t, w)
}

// checkClean asserts what holds in every scenario: the membership wrote
// nothing, and the LAN itself lost nothing that was not cut.
func checkClean(t *testing.T, w *World) {
	t.Helper()
	if wrote := w.Wrote(); len(wrote) != 0 {
		t.Errorf("the membership wrote to the store: %v", wrote)
	}
	if dropped := w.Fabric.Dropped(); dropped != 0 {
		t.Errorf("the LAN dropped %d packets", dropped)
	}
}
