package cluster

import (
	"sync"
	"time"
)

// strangerGrace is how long a node may gossip before etcd must know it.
const strangerGrace = 30 * time.Second

// strangerLimit bounds the memory for names nobody knows.
const strangerLimit = 4096

// strangers remembers since when nodes gossip that etcd does not know.
type strangers struct {
	now func() time.Time

	mu    sync.Mutex
	since map[string]time.Time
}

func newStrangers(now func() time.Time) *strangers {
	return &strangers{now: now, since: map[string]time.Time{}}
}

// welcome tells whether a node is to be believed.
func (s *strangers) welcome(node string, known Known) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !known.Fresh || known.Nodes[node].Registered {
		delete(s.since, node)
		return true
	}
	first, ok := s.since[node]
	if !ok {
		if len(s.since) >= strangerLimit {
			return false
		}
		first = s.now()
		s.since[node] = first
	}
	return s.now().Sub(first) < strangerGrace
}
