//go:build !race

package gossip

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestConditionsAreToldTwice: what memberlist says a thousand times is counted as
// often, and told once when it begins and once when it is over; whatever else it
// says nobody can act on.
func TestConditionsAreToldTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		counts := &counters{}
		memberlist := newLogger(slog.New(slog.NewTextHandler(&out, nil)), counts)
		said := func() string {
			defer out.Reset()
			return out.String()
		}
		for i := range 1000 {
			memberlist.Printf("[WARN] memberlist: Was able to connect to h%d over TCP but UDP probes failed, network may be misconfigured", i%3)
			memberlist.Printf("[ERR] memberlist: Push/Pull with h%d failed: connection refused", i)
			time.Sleep(time.Second)
		}
		if got := said(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "answers by TCP and not by UDP") || !strings.Contains(got, "connect to h0") {
			t.Errorf("while it lasts: %s", got)
		}
		if got := counts.get().UDPBlocked; got != 1000 {
			t.Errorf("counted %d times", got)
		}
		for range 20 {
			time.Sleep(30 * time.Second)
			memberlist.Printf("[DEBUG] memberlist: Initiating push/pull sync with: h2")
		}
		if got := said(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="over: a peer answers by TCP`) || !strings.Contains(got, "lasted=16m39s") {
			t.Errorf("when it is over: %s", got)
		}
		memberlist.Printf("[WARN] memberlist: Was able to connect to h1 over TCP but UDP probes failed")
		memberlist.Printf("[WARN] memberlist: handler queue full, dropping message (3) %s", "from=10.0.0.1")
		if got := said(); strings.Count(got, "\n") != 2 {
			t.Errorf("when it begins again, and something else does: %s", got)
		}
	})
}
