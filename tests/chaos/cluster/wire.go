package cluster

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Weather is what a wire does to what passes it.
type Weather struct {
	Cut     bool          // nothing connects, what stood is closed
	Silent  bool          // nothing passes either way, nothing is closed
	Mute    bool          // questions pass, answers are kept back
	Delay   time.Duration // of each answer
	Deliver bool          // what was kept back passes when the weather ends; else it is lost, with its connection
}

// Wire carries one agent's connections to one etcd member. What a connection
// brought before the weather changed is not taken back.
type Wire struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex
	weather Weather
	changed chan struct{} // closed when the weather changes
	pairs   map[*pair]bool
	closed  bool
}

// pair is a connection of the agent's and its continuation to etcd.
type pair struct {
	near, far net.Conn
	held      bool // questions are kept back, whatever becomes of who asked them
}

func (p *pair) close() { p.near.Close(); p.far.Close() }

// NewWire carries what connects to the listener to a target.
func NewWire(listener net.Listener, target string) *Wire {
	w := &Wire{listener: listener, target: target, changed: make(chan struct{}), pairs: map[*pair]bool{}}
	w.work.Go(w.accept)
	return w
}

// Close ends every connection.
func (w *Wire) Close() {
	w.mu.Lock()
	w.closed = true
	for p := range w.pairs {
		p.close()
	}
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	w.listener.Close()
	w.work.Wait()
}

// Set changes the weather.
func (w *Wire) Set(next Weather) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.weather.Silent || w.weather.Mute
	if next.Cut || kept && !w.weather.Deliver {
		for p := range w.pairs {
			if !p.held {
				p.close()
			}
		}
	}
	w.weather = next
	close(w.changed)
	w.changed = make(chan struct{})
}

// Hold keeps the questions of every connection that stands back until Deliver.
// New connections are carried meanwhile.
func (w *Wire) Hold() { w.hold(true) }

// Deliver brings what was held.
func (w *Wire) Deliver() { w.hold(false) }

func (w *Wire) hold(so bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.pairs {
		p.held = so
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Wire) isHeld(p *pair) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.held
}

func (w *Wire) now() (Weather, chan struct{}, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.weather, w.changed, w.closed
}

func (w *Wire) accept() {
	for {
		near, err := w.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if weather, _, closed := w.now(); weather.Cut || closed {
			near.Close()
			continue
		}
		far, err := net.DialTimeout("tcp", w.target, time.Second)
		if err != nil {
			near.Close()
			continue
		}
		p := &pair{near: near, far: far}
		w.mu.Lock()
		if w.closed || w.weather.Cut {
			w.mu.Unlock()
			p.close()
			continue
		}
		w.pairs[p] = true
		w.mu.Unlock()
		var both sync.WaitGroup
		both.Go(func() {
			w.carry(p, true)
			_ = far.(*net.TCPConn).CloseWrite()
		})
		both.Go(func() {
			w.carry(p, false)
			p.close()
		})
		w.work.Go(func() {
			both.Wait()
			p.close()
			w.mu.Lock()
			delete(w.pairs, p)
			w.mu.Unlock()
		})
	}
}

// carry moves bytes one way, as the weather lets it.
func (w *Wire) carry(p *pair, questions bool) {
	from, to := p.far, p.near
	if questions {
		from, to = p.near, p.far
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !w.pass(p, questions) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil && !(w.isHeld(p) && !questions) {
				return // else etcd may answer who is no more: what was asked is still to arrive
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until the weather lets bytes pass; false when they never will.
func (w *Wire) pass(p *pair, questions bool) bool {
	for {
		weather, changed, closed := w.now()
		held := w.isHeld(p)
		switch {
		case closed || weather.Cut && !held:
			return false
		case held && !questions:
			return true
		case held, weather.Silent, weather.Mute && !questions:
			<-changed
			continue
		}
		if weather.Delay > 0 && !questions {
			select {
			case <-time.After(weather.Delay):
			case <-changed:
			}
		}
		return true
	}
}
