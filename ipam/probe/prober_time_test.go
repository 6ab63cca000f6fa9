//go:build !race

package probe

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/ipam/conflict"
	"gvlan/ipam/pool"
)

// TestWhatIsNotKnownYet is looked for soon, and seldom while it stays so: the store
// may be away for long.
func TestWhatIsNotKnownYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looked atomic.Int32
		p := New(Config{
			Answers: func(context.Context, string, []netip.Addr, time.Duration) (map[netip.Addr][]net.HardwareAddr, error) {
				return nil, nil
			},
			Listens:  func(string) bool { return true },
			Networks: func() []conflict.Pool { return []conflict.Pool{{ID: "n"}} },
			Next: func(string, int) ([][]pool.Place, bool) {
				looked.Add(1)
				return nil, false
			},
			Now: time.Now, Log: slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(time.Second)
		soon := looked.Load()
		time.Sleep(time.Hour)
		if all := looked.Load(); soon < 3 || all-soon > 1000 {
			t.Errorf("looked for %d times in a second and %d times in an hour", soon, all-soon)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
