package enginetest

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"gvlan/driver/engine"
)

// watcher is one event stream: a queue that its Watch empties.
type watcher struct {
	mu    sync.Mutex
	queue []engine.Event
	more  chan struct{} // holds one token while the queue is not empty
}

func (w *watcher) push(event engine.Event) {
	w.mu.Lock()
	w.queue = append(w.queue, event)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []engine.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.queue
	w.queue = nil
	return taken
}

// Watch is engine.Engine.Watch. A stream that lags loses nothing.
func (e *Engine) Watch(ctx context.Context, deliver func(engine.Event)) error {
	w := &watcher{more: make(chan struct{}, 1)}
	e.mu.Lock()
	e.watchers[w] = struct{}{}
	if e.down {
		w.push(e.lost())
	} else {
		w.push(e.connected())
	}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watchers, w)
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.more:
		}
		for _, event := range w.take() {
			deliver(event)
		}
	}
}

func (e *Engine) connected() engine.Event {
	return engine.Event{Kind: engine.KindStream, Action: engine.ActionConnected, Time: e.now()}
}

func (e *Engine) lost() engine.Event {
	err := fmt.Errorf("watch events: %w", engine.ErrUnavailable)
	return engine.Event{Kind: engine.KindStream, Action: engine.ActionLost, Time: e.now(), Err: err}
}

// emit tells of something in the engine, unless it is down.
func (e *Engine) emit(kind engine.Kind, action engine.Action, id string, attributes map[string]string) {
	if e.down {
		return
	}
	e.tell(engine.Event{
		Kind: kind, Action: action, ID: id, Attributes: attributes, Scope: engine.ScopeLocal, Time: e.now(),
	})
}

func (e *Engine) tell(event engine.Event) {
	for w := range e.watchers {
		event.Attributes = maps.Clone(event.Attributes)
		w.push(event)
	}
}

func (e *Engine) emitNetwork(action engine.Action, n *engine.Network, container string) {
	attributes := map[string]string{"name": n.Name, "type": n.Driver}
	if container != "" {
		attributes["container"] = container
	}
	e.emit(engine.KindNetwork, action, n.ID, attributes)
}

func (e *Engine) emitContainer(action engine.Action, c *engine.ContainerDetail) {
	e.emit(engine.KindContainer, action, c.ID, containerAttributes(c))
}

func containerAttributes(c *engine.ContainerDetail) map[string]string {
	attributes := maps.Clone(c.Labels)
	attributes["name"] = c.Name
	return attributes
}
