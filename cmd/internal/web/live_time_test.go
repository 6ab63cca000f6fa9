//go:build !race

package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// heard is a reader of what goes on.
type heard chan string

func (h heard) Header() http.Header { return http.Header{} }

func (h heard) WriteHeader(int) {}

func (h heard) Flush() {}

func (h heard) Write(told []byte) (int, error) {
	h <- string(told)
	return len(told), nil
}

// TestABellIsHeard by a page that is open, which looks again by itself where it is not
// rung.
func TestABellIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bell, reader := NewBell(), make(heard)
		site := (&Site{Agent: answers{}, Bell: bell, Now: time.Now}).Handler()
		ctx, end := context.WithCancel(t.Context())
		var open sync.WaitGroup
		open.Go(func() {
			site.ServeHTTP(reader, httptest.NewRequestWithContext(ctx, http.MethodGet, "/live", http.NoBody))
		})
		for _, after := range []time.Duration{0, gathering, lookAgain, gathering} {
			before := time.Now()
			if after == gathering {
				bell.Ring()
				bell.Ring() // is told at once with the first
			}
			if told := <-reader; told != "event: change\ndata:\n\n" || time.Since(before) != after {
				t.Errorf("it is told %q after %s, want %s", told, time.Since(before), after)
			}
			synctest.Wait()
		}
		end()
		open.Wait()
	})
}
