package cluster

import "sync"

// Counters count what went by since the start, for metrics and `gvlan
// members`.
type Counters struct {
	RefusedKey     uint64 // packets and streams not encrypted with a key of ours
	RefusedCluster uint64 // packets and streams with another cluster's label
	RefusedNode    uint64 // alive messages of nodes etcd does not know
	Conflicts      uint64 // two addresses claim one node name
	UDPBlocked     uint64 // probes that only TCP answered
	Dropped        uint64 // messages dropped because too many waited

	Joins uint64 // streams opened to join known but missing members
	Flaps uint64 // members that were declared failed and came back
}

// counters is Counters under a lock.
type counters struct {
	mu sync.Mutex
	c  Counters
}

func (c *counters) add(f func(*Counters)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.c)
}

func (c *counters) get() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.c
}
