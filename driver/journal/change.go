package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Change is what is put and dropped in one transaction. What it returns is with
// that already done.
type Change struct {
	memory *Memory
	before []step // of changes on their way to the disk, which it is decided upon
	done   []step
	after  []func()

	values map[Key][]byte // what the file is to have of done
	failed error          // it did not come to be, or one that it was decided upon
}

type step struct {
	record Record
	gone   bool
}

// Draft is a change that is never made: it tells what one would lead to.
func (m *Memory) Draft() *Change { return &Change{memory: m} }

// Put has records be there, in place of those of the same keys.
func (c *Change) Put(records ...Record) {
	for _, r := range records {
		c.done = append(c.done, step{record: r})
	}
}

// Drop has records be gone; only their keys count.
func (c *Change) Drop(records ...Record) {
	for _, r := range records {
		c.done = append(c.done, step{record: r, gone: true})
	}
}

// After has f run once memory has the change.
func (c *Change) After(f func()) { c.after = append(c.after, f) }

// Network is Memory's.
func (c *Change) Network(id string) (Network, bool) {
	return changed(c, Network{ID: id}, func() (Network, bool) { return c.memory.Network(id) })
}

// Addressing is Memory's.
func (c *Change) Addressing(id string) (Addressing, bool) {
	return changed(c, Addressing{ID: id}, func() (Addressing, bool) { return c.memory.Addressing(id) })
}

// Pools is Memory's.
func (c *Change) Pools(which func(Pool) bool) []Pool {
	now := map[string]step{} // by id
	for _, s := range slices.Concat(c.before, c.done) {
		if p, ok := s.record.(Pool); ok {
			now[p.ID] = s
		}
	}
	found := c.memory.Pools(func(p Pool) bool {
		_, touched := now[p.ID]
		return !touched && which(p)
	})
	for _, s := range now {
		if p := s.record.(Pool); !s.gone && which(p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, bySeq)
	return found
}

// changed is a record as the change has it; before is what it was.
func changed[T Record](c *Change, like T, before func() (T, bool)) (record T, there bool) {
	for _, steps := range [][]step{c.done, c.before} {
		for _, s := range slices.Backward(steps) {
			if s.record.key() != like.key() {
				continue
			}
			if s.gone {
				return record, false
			}
			return s.record.(T), true
		}
	}
	return before()
}

// encode makes the values of what is done.
func (c *Change) encode() (failed error) {
	c.values = make(map[Key][]byte, len(c.done))
	for _, s := range c.done {
		key := s.record.key()
		if s.gone {
			c.values[key] = nil
			continue
		}
		raw, err := json.Marshal(s.record)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("write %s of the journal: %w", key.Key, err))
			continue
		}
		c.values[key] = raw
	}
	return failed
}

func (c *Change) runAfter() {
	for _, then := range c.after {
		then()
	}
}
