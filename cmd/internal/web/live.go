package web

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Bell tells the pages that are open that the cluster has changed.
type Bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed when it rings
}

// NewBell makes one that nobody has rung.
func NewBell() *Bell { return &Bell{rung: make(chan struct{})} }

// Ring tells whoever listens, and never waits.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rung)
	b.rung = make(chan struct{})
}

// heard is closed when the bell rings next.
func (b *Bell) heard() <-chan struct{} {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rung
}

const (
	// gathering is how long what changes is waited for to be shown at once: a
	// container that starts changes several records.
	gathering = 300 * time.Millisecond
	// lookAgain is when a page looks again although nobody rang: some things end by
	// themselves, as the rest of an address.
	lookAgain = 5 * time.Second
)

// live tells a page to look again (server-sent events, HTML Living Standard
// 9.2), until its reader or the agent goes.
func (s *server) live(w http.ResponseWriter, r *http.Request) {
	end, free := s.crowd.stay()
	if !free {
		tooMany(w)
		return
	}
	defer end()
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	flusher := http.NewResponseController(w)
	for {
		rung := s.Bell.heard()
		if _, err := fmt.Fprint(w, "event: change\ndata:\n\n"); err != nil || flusher.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-rung:
			select {
			case <-r.Context().Done():
				return
			case <-time.After(gathering):
			}
		case <-time.After(lookAgain):
		}
	}
}
