package mirror

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"

	"gvlan/ipam/pool"
)

// Mirrors holds one mirror per subnet of a segment, shared by the pools that
// are views on it.
type Mirrors struct {
	mu      sync.Mutex
	all     map[Subnet]*Mirror
	running map[Subnet]context.CancelFunc
	Work    sync.WaitGroup
	draws   *draws
}

// Subnet is what one mirror is of.
type Subnet struct {
	Segment string
	Subnet  netip.Prefix
}

// draws is one source for all mirrors.
type draws struct {
	mu     sync.Mutex
	source rand.Source
}

func (d *draws) Uint64() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.source.Uint64()
}

// NewMirrors has none yet. What contending nodes choose is drawn.
func NewMirrors(source rand.Source) *Mirrors {
	return &Mirrors{all: map[Subnet]*Mirror{}, running: map[Subnet]context.CancelFunc{}, draws: &draws{source: source}}
}

// Draws is what is drawn from, by all mirrors and whoever else chooses; any number
// may at once.
func (s *Mirrors) Draws() rand.Source { return s.draws }

// Of returns a subnet's mirror, made empty and not ready if need be.
func (s *Mirrors) Of(segment string, subnet netip.Prefix) *Mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := Subnet{segment, subnet}
	if s.all[at] == nil {
		s.all[at] = s.New(segment, subnet)
	}
	return s.all[at]
}

// New is a mirror that is none of these: of one list.
func (s *Mirrors) New(segment string, subnet netip.Prefix) *Mirror {
	return New(segment, subnet, s.draws)
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

// Want makes exactly these subnets be followed.
func (s *Mirrors) Want(subnets map[Subnet]bool, follow func(*Mirror) context.CancelFunc) {
	for at := range subnets {
		m := s.Of(at.Segment, at.Subnet)
		if s.running[at] == nil {
			s.running[at] = follow(m)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.all {
		if subnets[at] {
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
