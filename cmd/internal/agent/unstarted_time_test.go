//go:build !race

package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/driver/engine"
)

// TestUnstartedAreCounted: containers that the engine failed to start are counted
// from time to time, and what was counted stands while it does not answer.
func TestUnstartedAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed []engine.ContainerDetail
		var down error
		var counted unstarted
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- counted.look(ctx, func(context.Context) ([]engine.ContainerDetail, error) { return failed, down })
		}()
		after := func(d time.Duration) int64 {
			time.Sleep(d)
			synctest.Wait()
			return counted.n.Load()
		}
		failed = make([]engine.ContainerDetail, 2)
		if n := after(time.Minute); n != 2 {
			t.Errorf("%d are counted, want 2", n)
		}
		failed, down = nil, errors.New("dockerd does not answer")
		if n := after(time.Hour); n != 2 {
			t.Errorf("while the engine does not answer %d are counted, want 2 still", n)
		}
		down = nil
		if n := after(time.Minute); n != 0 {
			t.Errorf("%d are counted, want none", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
