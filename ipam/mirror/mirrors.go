package mirror

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"gvlan/ipam/pool"
)

// Mirrors holds one mirror per subnet of a segment, shared by the pools that
// are views on it.
type Mirrors struct {
	mu      sync.Mutex
	all     map[Subnet]*Mirror
	running map[Subnet]context.CancelFunc
	Work    sync.WaitGroup
	now     func() time.Time
}

// Subnet is what one mirror is of.
type Subnet struct {
	Segment string
	Subnet  netip.Prefix
}

// NewMirrors has none yet.
func NewMirrors(now func() time.Time) *Mirrors {
	return &Mirrors{all: map[Subnet]*Mirror{}, running: map[Subnet]context.CancelFunc{}, now: now}
}

// Of returns a subnet's mirror, made empty and not ready if need be.
func (s *Mirrors) Of(segment string, subnet netip.Prefix) *Mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := Subnet{segment, subnet}
	if s.all[at] == nil {
		s.all[at] = New(segment, subnet, s.now)
	}
	return s.all[at]
}

// Covering returns the mirrors that a place lies in.
func (s *Mirrors) Covering(at pool.Place) []*Mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*Mirror
	for o, m := range s.all {
		if o.Segment == at.Segment && o.Subnet.Contains(at.Addr) {
			found = append(found, m)
		}
	}
	return found
}

// Want makes exactly these subnets be followed, and what becomes free in each
// be remembered for its time.
func (s *Mirrors) Want(subnets map[Subnet]time.Duration, follow func(*Mirror) context.CancelFunc) {
	for at, cooldown := range subnets {
		m := s.Of(at.Segment, at.Subnet)
		m.rest(cooldown)
		if s.running[at] == nil {
			s.running[at] = follow(m)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.all {
		if _, wanted := subnets[at]; wanted {
			continue
		}
		if stop := s.running[at]; stop != nil {
			stop()
		}
		delete(s.running, at)
		delete(s.all, at)
	}
}

// Stop ends every follower and waits for it.
func (s *Mirrors) Stop() {
	s.Want(nil, nil)
	s.Work.Wait()
}
