package journal

import (
	"errors"
	"maps"
	"sync"
)

// rounds are the writes of the file that wait for the disk: while one is under
// way, everybody who wants another waits for the next, together.
type rounds struct {
	file    File
	enter   func(...*Change) // has memory see changes
	writing chan struct{}    // has one while a round is written

	// order makes the file's order that of memory: who changes something holds
	// it while he decides and until the change is in line for the file, and
	// never across a sync, a call of the store, the engine or the kernel. It is
	// taken before the memory's lock.
	order    sync.Mutex
	claimed  map[Key]*round // which is the last to have a change of the key
	underway *round         // nil while none is written
	next     *round
}

// round is one write.
type round struct {
	changes []*Change     // seen when it is on disk
	done    chan struct{} // closed once err and the changes' failed are said
	err     error
}

func newRounds(file File, enter func(...*Change)) *rounds {
	return &rounds{file: file, enter: enter, writing: make(chan struct{}, 1), claimed: map[Key]*round{}, next: newRound()}
}

func newRound() *round { return &round{done: make(chan struct{})} }

// unseen are the steps of changes on their way, in order.
func (rs *rounds) unseen() (steps []step) {
	for _, r := range []*round{rs.underway, rs.next} {
		if r == nil {
			continue
		}
		for _, c := range r.changes {
			steps = append(steps, c.done...)
		}
	}
	return steps
}

// claim puts a change in line. Its keys are its own until it is over.
func (rs *rounds) claim(c *Change) {
	rs.next.changes = append(rs.next.changes, c)
	for key := range c.values {
		rs.claimed[key] = rs.next
	}
}

// claimant returns a round that has a change of one of the keys.
func (rs *rounds) claimant(c *Change) (r *round, there bool) {
	for key := range c.values {
		if r, there = rs.claimed[key]; there {
			return r, true
		}
	}
	return nil, false
}

// end tells a round's changes, and everybody who waits, how it went. What was
// decided upon changes that did not come to be does not either.
func (rs *rounds) end(r *round, err error) {
	rs.underway = nil
	over := map[*round]bool{r: true}
	failed := r.changes
	if err != nil {
		over[rs.next] = true
		failed = append(failed, rs.next.changes...)
		rs.next.changes = nil
		for _, c := range failed {
			c.failed = err
		}
	}
	maps.DeleteFunc(rs.claimed, func(_ Key, by *round) bool { return over[by] })
	r.err = err
	close(r.done)
}

// Change has f say what changes, by what is there, while nobody else changes
// it. Memory has it once it is on disk: an error, of f or of the file, changes
// nothing. Changes that are on their way to the disk are seen by what f asks the
// Change, and by nobody else.
func (m *Memory) Change(f func(*Change) error) error {
	c := &Change{memory: m}
	r, err := m.decide(c, f)
	if err != nil {
		return err
	}
	if r != nil {
		_ = m.rounds.await(r) // which may be well and the change not
		if c.failed != nil {
			return c.failed
		}
	}
	c.runAfter()
	return nil
}

// decide puts a change in line; the round is nil when there is nothing to wait
// for.
func (m *Memory) decide(c *Change, f func(*Change) error) (*round, error) {
	m.rounds.order.Lock()
	defer m.rounds.order.Unlock() // a server that recovers from a panic in f goes on
	c.before = m.rounds.unseen()
	if err := errors.Join(f(c), c.encode()); err != nil {
		return nil, err
	}
	if len(c.values)+len(c.before) == 0 {
		return nil, nil
	}
	m.rounds.claim(c)
	return m.rounds.next, nil
}

// Note is for what has happened already and must not be forgotten: memory has
// it at once, even when the file cannot take it, which the error tells; it is on
// disk when Note returns. f decides by the records that it puts or drops, and
// may be called again: it waits for a change of one of them.
func (m *Memory) Note(f func(*Change)) error {
	r, _, err := m.see(f)
	if r == nil {
		return err
	}
	return m.rounds.await(r)
}

// Known is Note for what somebody else can tell again, the store say, which
// acknowledged it: it outlives this agent, and need not be on disk before
// anybody acts on it. A power cut may take it, with all that was Known after it;
// what came before a Note or a Change is on disk with that.
func (m *Memory) Known(f func(*Change)) error {
	r, due, err := m.see(f)
	if r != nil && due {
		_ = m.rounds.await(r) // it is kept, however that goes
	}
	return err
}

// see has memory and the file have a change at once. The round is the one that
// brings it to the disk, nil when there is nothing to bring.
func (m *Memory) see(f func(*Change)) (r *round, due bool, err error) {
	for {
		c := &Change{memory: m}
		r, due, err, again := m.trySee(c, f)
		if again {
			<-r.done
			continue
		}
		c.runAfter()
		return r, due, err
	}
}

func (m *Memory) trySee(c *Change, f func(*Change)) (r *round, due bool, err error, again bool) {
	m.rounds.order.Lock()
	defer m.rounds.order.Unlock()
	f(c)
	err = c.encode()
	if other, claimed := m.rounds.claimant(c); claimed {
		return other, false, nil, true
	}
	m.enter(c)
	if err != nil || len(c.values) == 0 {
		return nil, false, err, false
	}
	due, err = m.rounds.file.Keep(c.values)
	return m.rounds.next, due, err, false
}

func (m *Memory) enter(changes ...*Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		for _, s := range c.done {
			if s.gone {
				s.record.leave(m)
			} else {
				s.record.enter(m)
			}
		}
	}
}

// await returns how a round went, which it writes itself when nobody does.
func (rs *rounds) await(r *round) error {
	select {
	case <-r.done:
		return r.err
	case rs.writing <- struct{}{}:
	}
	defer func() { <-rs.writing }()
	select {
	case <-r.done: // written while both were possible
	default:
		rs.writeNext()
	}
	return r.err
}

// errInterrupted is how a round went whose write ended in a panic.
var errInterrupted = errors.New("the write of the journal did not come to its end")

// writeNext writes the next round. The caller has the turn to write.
func (rs *rounds) writeNext() {
	rs.order.Lock()
	r := rs.next
	rs.underway, rs.next = r, newRound()
	rs.order.Unlock()
	values := map[Key][]byte{}
	for _, c := range r.changes {
		maps.Copy(values, c.values)
	}
	err := errInterrupted
	defer func() {
		rs.order.Lock()
		defer rs.order.Unlock()
		if err == nil {
			rs.enter(r.changes...)
		}
		rs.end(r, err)
	}()
	err = rs.file.Write(values)
}

// Put changes records.
func (m *Memory) Put(records ...Record) error {
	return m.Change(func(c *Change) error {
		c.Put(records...)
		return nil
	})
}

// Drop takes records out; only their keys count.
func (m *Memory) Drop(records ...Record) error {
	return m.Change(func(c *Change) error {
		c.Drop(records...)
		return nil
	})
}

// NotePut notes records.
func (m *Memory) NotePut(records ...Record) error {
	return m.Note(func(c *Change) { c.Put(records...) })
}

// NoteDrop notes that records are gone.
func (m *Memory) NoteDrop(records ...Record) error {
	return m.Note(func(c *Change) { c.Drop(records...) })
}

// KnownPut is Known for records.
func (m *Memory) KnownPut(records ...Record) error {
	return m.Known(func(c *Change) { c.Put(records...) })
}

// KnownDrop is Known for records that are gone.
func (m *Memory) KnownDrop(records ...Record) error {
	return m.Known(func(c *Change) { c.Drop(records...) })
}
