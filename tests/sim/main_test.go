//go:build !race

package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	sizesFlag = flag.String("sizes", "5,50", "numbers of nodes to simulate")
	seedsFlag = flag.Uint64("seeds", 20, "runs of each scenario")
)

// ran counts scenarios that ran to their end.
var ran atomic.Int64

// TestMain fails when a whole run of the package simulated nothing: a
// forgotten build tag must not look like success.
func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400)       // memberlist makes much short-lived garbage,
	debug.SetMemoryLimit(3 << 30) // of which a thousand hosts may not keep too much
	code := m.Run()
	if filter := flag.Lookup("test.run").Value.String() + flag.Lookup("test.list").Value.String(); code == 0 && filter == "" && ran.Load() == 0 {
		fmt.Println("FAIL: no scenario was simulated")
		code = 1
	}
	os.Exit(code)
}

// sizes runs a test for each number of nodes asked for.
func sizes(t *testing.T, test func(t *testing.T, n int)) {
	for _, field := range strings.Split(*sizesFlag, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatalf("-sizes: %v", err)
		}
		t.Run(fmt.Sprintf("%dnodes", n), func(t *testing.T) { test(t, n) })
	}
}

// seeds plays a scenario once for each seed, side by side, and returns when
// all are over.
func seeds(t *testing.T, count uint64, play func(t *testing.T, seed uint64)) {
	t.Run("seeds", func(t *testing.T) {
		for seed := range count {
			t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				virtually(t, func(t *testing.T) { play(t, seed) })
			})
		}
	})
}

// virtually plays a scenario in virtual time.
func virtually(t *testing.T, play func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		play(t)
		// memberlist's timers outlive its shutdown.
		time.Sleep(5 * time.Minute)
	})
	ran.Add(1)
}

// eventually waits, in virtual time, until something holds.
func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: not %s", limit, what)
		}
	}
}

// atMost prints a figure and holds it to its bar.
func atMost(t *testing.T, name string, n int, got, bar float64) {
	t.Helper()
	Bench(name, n, got)
	if !(got <= bar) { // also when it is NaN
		t.Errorf("%s with %d nodes is %.3g, want at most %g", name, n, got, bar)
	}
}
