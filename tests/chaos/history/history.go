// Package history keeps what hosts asked for and what they were answered, and
// judges it.
package history

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Outcome is how a call ended.
type Outcome uint8

const (
	// None: the call was not made.
	None Outcome = iota
	// OK: it happened.
	OK
	// Refused: it did not happen.
	Refused
	// Unknown: no answer came.
	Unknown
)

// Call is one question to an agent.
type Call struct {
	Began, Ended time.Duration // since the run began, by the one clock of the test
	Outcome      Outcome
	Why          string // of Refused and Unknown
}

// Life is one container's address: asked for, bound, given back. Nobody else
// may have the address from the end of Request until the beginning of End.
type Life struct {
	Number   int
	Host     string
	Network  string
	Segment  string
	Endpoint string
	Asked    netip.Addr // by --ip; zero for any
	Address  netip.Addr // zero while unknown
	Request  Call
	Bind     Call
	End      Call
	// Lost is when the host died with it, or was declared dead; 0: it did not.
	Lost time.Duration
}

// Book is the history of a run.
type Book struct {
	began time.Time

	mu    sync.Mutex
	lives []*Life
	notes []Note
}

// Note is something that was done to the cluster.
type Note struct {
	At   time.Duration
	What string
}

// NewBook begins a history.
func NewBook() *Book { return &Book{began: time.Now()} }

// Now is the time since the run began, by a clock that nothing jumps.
func (b *Book) Now() time.Duration { return time.Since(b.began) }

// Begin enters a life.
func (b *Book) Begin(l Life) *Life {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.Number = len(b.lives) + 1
	entered := &l
	b.lives = append(b.lives, entered)
	return entered
}

// Change changes a life.
func (b *Book) Change(l *Life, change func(*Life)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(l)
}

// Say notes what was done.
func (b *Book) Say(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, Note{time.Since(b.began), what})
}

// Lives reports whether a container runs; one that never began does not.
func (b *Book) Lives(l *Life) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return l != nil && l.Bind.Outcome == OK && l.End.Outcome == None && l.Lost == 0
}

// Lose notes that a container is gone without a word of its engine.
func (b *Book) Lose(l *Life) { b.Change(l, func(l *Life) { l.Lost = time.Since(b.began) }) }

// All are copies of all lives so far.
func (b *Book) All() []Life {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Life, len(b.lives))
	for i, l := range b.lives {
		all[i] = *l
	}
	return all
}

// Notes are all that was done so far.
func (b *Book) Notes() []Note {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Note(nil), b.notes...)
}

// Sum counts what happened.
func (b *Book) Sum() string {
	asked, ran, unknown, ended := 0, 0, 0, 0
	for _, l := range b.All() {
		asked++
		for _, c := range []Call{l.Request, l.Bind, l.End} {
			if c.Outcome == Unknown {
				unknown++
			}
		}
		if l.Bind.Outcome == OK {
			ran++
		}
		if l.End.Outcome == OK {
			ended++
		}
	}
	return fmt.Sprintf("%d addresses asked for, %d containers ran, %d were stopped in order, %d calls without an answer, %d things done to the cluster", asked, ran, ended, unknown, len(b.Notes()))
}

// Held is the time in which an address is certainly the life's own; false for
// none.
func (l Life) Held() (from, to time.Duration, held bool) {
	if l.Bind.Outcome != OK {
		return 0, 0, false // what was never confirmed may be freed at any time
	}
	to = forever
	if l.End.Outcome != None {
		to = l.End.Began
	}
	if l.Lost > 0 {
		to = min(to, l.Lost)
	}
	return l.Request.Ended, to, to > l.Request.Ended
}

// forever is after the end of every run.
const forever = 1000 * time.Hour
