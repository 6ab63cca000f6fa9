package linktest

import (
	"context"

	"gvlan/driver/link"
)

// backlog is how many events a watcher may be behind before it has to look
// at everything anew.
const backlog = 64

// Watch is link.Kernel's.
func (k *Kernel) Watch(ctx context.Context, changed func(link.Event)) error {
	h := k.host
	events := make(chan link.Event, backlog)
	h.mu.Lock()
	h.next++
	id := h.next
	h.watchers[id] = events
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, id)
	}()
	changed(link.Event{Resync: true})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event := <-events:
			changed(event)
		}
	}
}

func (h *host) tell(e *entry, gone bool) {
	event := link.Event{Name: e.Name, Index: e.Index, Up: e.Up, Gone: gone}
	for _, events := range h.watchers {
		select {
		case events <- event:
			continue
		default:
		}
		// Full: the oldest makes room for the news that something is lost.
		select {
		case <-events:
		default:
		}
		events <- link.Event{Resync: true}
	}
}
