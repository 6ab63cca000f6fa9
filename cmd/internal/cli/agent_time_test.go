//go:build !race

package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/cmd/internal/cli/frame"
)

// failedPlugin runs outlive for an agent that failed after a while, and tells
// how long its process lived and what it printed.
func failedPlugin(ctx context.Context, after time.Duration) (lived time.Duration, printed string, err error) {
	began := time.Now()
	time.Sleep(after)
	var out strings.Builder
	err = outlive(ctx, began, &out, errors.New("no store"))
	return time.Since(began), out.String(), err
}

// TestFailedPluginOutlivesDockersWait: Docker dials the socket of a plugin for
// 12.5 s and mixes up processes that end before.
func TestFailedPluginOutlivesDockersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lived, printed, err := failedPlugin(t.Context(), time.Second)
		if lived != leastLife || lived < 2*12500*time.Millisecond {
			t.Errorf("lived %s, want %s, twice what Docker waits", lived, leastLife)
		}
		if !strings.HasPrefix(printed, "gvlan: no store (") {
			t.Errorf("printed %q before it waited, want the reason", printed)
		}
		if !errors.Is(err, frame.ErrTold) {
			t.Errorf("error %v, which main prints once more", err)
		}
	})
}

func TestFailedPluginEndsWhenDockerSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithTimeout(t.Context(), 12500*time.Millisecond)
		defer end()
		if lived, _, err := failedPlugin(ctx, 0); lived != 12500*time.Millisecond || err == nil {
			t.Errorf("lived %s and ended with %v, want the end at 12.5s, with an error", lived, err)
		}
	})
}

// TestOldPluginEndsAtOnce: Docker starts it anew at once.
func TestOldPluginEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lived, printed, err := failedPlugin(t.Context(), time.Hour)
		if errors.Is(err, frame.ErrTold) || lived != time.Hour || printed != "" {
			t.Errorf("lived %s, printed %q, ended with %v; want it to end at once and leave the error to main", lived, printed, err)
		}
	})
}
