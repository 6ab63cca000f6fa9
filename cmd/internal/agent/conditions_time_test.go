//go:build !race

package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gvlan/driver/trouble"
)

// TestConditionsAreToldTwice: what lasts is told once and once when it is over, and
// what is over at the next look is not told at all.
func TestConditionsAreToldTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var down error
		c := conditions{{Name: "engine", Ask: func(context.Context) error { return down }}, {Name: "store", Ask: func(context.Context) error { return nil }}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.tell(ctx, trouble.NewBook(time.Now, slog.New(slog.NewTextHandler(&log, nil)))) }()
		pass := func(d time.Duration) string {
			log.Reset()
			time.Sleep(d)
			synctest.Wait()
			return log.String()
		}
		if said := pass(time.Minute + time.Second); said != "" {
			t.Errorf("all is well: %s", said)
		}
		down = errors.New("dockerd does not answer")
		if said := pass(10 * time.Second); said != "" {
			t.Errorf("told at the first look: %s", said)
		}
		if said := pass(time.Hour); strings.Count(said, "\n") != 1 || !strings.Contains(said, `what=engine err="dockerd does not answer"`) {
			t.Errorf("in an hour: %s", said)
		}
		down = nil
		if said := pass(time.Hour); strings.Count(said, "\n") != 1 || !strings.Contains(said, `msg="works again" what=engine lasted=1h0m0s`) {
			t.Errorf("when it is over: %s", said)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
