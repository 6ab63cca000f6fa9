//go:build !race

package ipam

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestARefusedFollowerFollowsAgain: a right that was taken away may come back.
func TestARefusedFollowerFollowsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		refusals := 2
		done := make(chan struct{})
		follows := 0
		go func() {
			defer close(done)
			again(ctx, func() error {
				follows++
				if refusals--; refusals >= 0 {
					return errors.New("permission denied")
				}
				<-ctx.Done()
				return nil
			})
		}()
		time.Sleep(2*followAgain + time.Second)
		synctest.Wait()
		if follows != 3 {
			t.Errorf("followed %d times, want the third to stand", follows)
		}
		cancel()
		<-done
	})
}
