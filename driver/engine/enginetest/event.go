package enginetest

import (
	"fmt"
	"maps"
	"sync"
	"time"

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

// events are what the engine tells of itself, to whoever watches. The engine's
// lock guards it.
type events struct {
	down     bool
	watchers map[*watcher]struct{}
	clock    time.Time
}

// now is a clock of its own: every look at it is a millisecond later.
func (s *events) now() time.Time {
	s.clock = s.clock.Add(time.Millisecond)
	return s.clock
}

func (s *events) connected() engine.Event {
	return engine.Event{Kind: engine.KindStream, Action: engine.ActionConnected, Time: s.now()}
}

func (s *events) lost() engine.Event {
	err := fmt.Errorf("watch events: %w", engine.ErrUnavailable)
	return engine.Event{Kind: engine.KindStream, Action: engine.ActionLost, Time: s.now(), Err: err}
}

// emit tells of something in the engine, unless it is down.
func (s *events) emit(kind engine.Kind, action engine.Action, id string, attributes map[string]string) {
	if s.down {
		return
	}
	s.tell(engine.Event{
		Kind: kind, Action: action, ID: id, Attributes: attributes, Scope: engine.ScopeLocal, Time: s.now(),
	})
}

func (s *events) tell(event engine.Event) {
	for w := range s.watchers {
		event.Attributes = maps.Clone(event.Attributes)
		w.push(event)
	}
}

func (s *events) emitNetwork(action engine.Action, n *engine.Network, container string) {
	attributes := map[string]string{"name": n.Name, "type": n.Driver}
	if container != "" {
		attributes["container"] = container
	}
	s.emit(engine.KindNetwork, action, n.ID, attributes)
}

func (s *events) emitContainer(action engine.Action, c *engine.ContainerDetail) {
	s.emit(engine.KindContainer, action, c.ID, containerAttributes(c))
}

func containerAttributes(c *engine.ContainerDetail) map[string]string {
	attributes := maps.Clone(c.Labels)
	attributes["name"] = c.Name
	return attributes
}
