package storetest

import (
	"sync"

	"gvlan/cluster/store/session"
)

// Past is a session.Past in memory.
type Past struct {
	Known    session.Memory
	Returned int64 // the epoch in which the node was last back from an eviction

	mu sync.Mutex
}

// LoadPast implements session.Past.
func (p *Past) LoadPast() (session.Memory, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Known, nil
}

// SavePast implements session.Past.
func (p *Past) SavePast(known session.Memory) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Known = known
	return nil
}
