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
	outlived  bool // held is or was set
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
		p.held, p.outlived = so, p.outlived || so
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *Wire) isHeld(p *pair) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.held
}

// answered is how long etcd has to do what somebody asked who is no more, before
// the end of the connection has it give up.
const answered = 300 * time.Millisecond

func (w *Wire) wasHeld(p *pair) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.outlived
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
			if w.wasHeld(p) {
				time.Sleep(answered)
			}
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

// parcel is what was read, and when it is due.
type parcel struct {
	bytes []byte
	due   time.Time
}

// carry moves bytes one way, as the weather lets it. Reading goes on while what
// was read before waits, so that a delay is no less a throughput.
func (w *Wire) carry(p *pair, questions bool) {
	from, to := p.far, p.near
	if questions {
		from, to = p.near, p.far
	}
	under := make(chan parcel, 1024)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(under)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				weather, _, _ := w.now()
				due := time.Now()
				if !questions {
					due = due.Add(weather.Delay)
				}
				under <- parcel{buf[:n], due}
			}
			if err != nil {
				return
			}
		}
	})
	for next := range under {
		if !w.pass(p, questions, next.due) {
			break
		}
		if _, err := to.Write(next.bytes); err != nil && !(w.wasHeld(p) && !questions) {
			break // else etcd may answer who is no more: what was asked is still to arrive
		}
	}
	if !questions {
		p.close()
	}
	for range under { // until the reading ends
	}
	reading.Wait()
}

// pass waits until the weather lets bytes pass; false when they never will.
func (w *Wire) pass(p *pair, questions bool, due time.Time) bool {
	for {
		weather, changed, closed := w.now()
		held := w.isHeld(p)
		switch {
		case closed || weather.Cut && !held:
			p.close()
			return false
		case held && !questions:
			return true
		case held, weather.Silent, weather.Mute && !questions:
			<-changed
			continue
		}
		if wait := time.Until(due); wait > 0 && weather.Delay > 0 {
			select {
			case <-time.After(wait):
			case <-changed:
			}
			continue
		}
		return true
	}
}
