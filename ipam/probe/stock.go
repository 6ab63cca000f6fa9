package probe

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

const (
	// Stocked is how many addresses of a network and family are asked for ahead: a
	// few more than are needed, since other hosts choose too.
	Stocked = 16
	// mostSilent and mostHeard bound what is remembered, per network and in all.
	mostSilent = 256
	mostHeard  = 4096
	// freshFor is how long silence counts while this host listens for who begins to
	// use an address; unheardFor where it cannot.
	freshFor   = 10 * time.Minute
	unheardFor = time.Minute
	// heardFor is how long an answer counts that did not become a conflict of the
	// cluster's: of one of its own containers, or while the store is away.
	heardFor = time.Minute
)

// Answer is who answered for an address.
type Answer struct {
	At  pool.Place
	MAC net.HardwareAddr
}

// heard is an address that somebody answered for.
type heard struct {
	network string // the engine's id
	by      []net.HardwareAddr
	at      time.Time
	settled bool // the store was told, or need not be
}

// stock is what the LAN said.
type stock struct {
	now    func() time.Time
	listen func(network string) bool // this host hears who begins to use an address there

	mu     sync.Mutex
	silent map[string]map[pool.Place]time.Time // by network: since when
	heard  map[pool.Place]heard
}

func newStock(now func() time.Time, listen func(string) bool) *stock {
	return &stock{now: now, listen: listen, silent: map[string]map[pool.Place]time.Time{}, heard: map[pool.Place]heard{}}
}

// lasting is how long silence counts on a network.
func (s *stock) lasting(network string) time.Duration {
	if s.listen(network) {
		return freshFor
	}
	return unheardFor
}

// fresh reports whether nobody answered for an address lately.
func (s *stock) fresh(network string, at pool.Place) bool {
	lasting := s.lasting(network)
	s.mu.Lock()
	defer s.mu.Unlock()
	since, known := s.silent[network][at]
	return known && s.now().Sub(since) < lasting
}

// aging reports whether an address of the stock is to be asked for again.
func (s *stock) aging(network string, at pool.Place) bool {
	lasting := s.lasting(network)
	s.mu.Lock()
	defer s.mu.Unlock()
	since, known := s.silent[network][at]
	return !known || s.now().Sub(since) >= lasting/2
}

// enter notes that nobody answered for addresses.
func (s *stock) enter(network string, all []pool.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, now := s.silent[network], s.now()
	if of == nil {
		of = map[pool.Place]time.Time{}
		s.silent[network] = of
	}
	for _, at := range all {
		of[at] = now
		delete(s.heard, at)
	}
	if len(of) > mostSilent {
		oldest := slices.SortedFunc(maps.Keys(of), func(a, b pool.Place) int { return of[a].Compare(of[b]) })
		for _, at := range oldest[:len(of)-mostSilent] {
			delete(of, at)
		}
	}
}

// note notes that somebody answered for an address.
func (s *stock) note(network string, at pool.Place, by []net.HardwareAddr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsilence(at)
	had, known := s.heard[at]
	if !known && len(s.heard) >= mostHeard {
		return // each is asked for again when it is wanted
	}
	s.heard[at] = heard{network, by, s.now(), known && had.settled}
}

// doubt forgets that nobody answered for an address.
func (s *stock) doubt(at pool.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsilence(at)
}

func (s *stock) unsilence(at pool.Place) {
	for _, of := range s.silent {
		delete(of, at)
	}
}

// settle notes that the store was told of an answer, or need not be: gone has it
// forgotten, since the address has a record.
func (s *stock) settle(at pool.Place, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, known := s.heard[at]
	if !known || gone {
		delete(s.heard, at)
		return
	}
	h.settled = true
	s.heard[at] = h
}

// unsettled are the answers of a network that the store has not been told of.
func (s *stock) unsettled(network string) (all []pool.Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, h := range s.heard {
		if h.network == network && !h.settled {
			all = append(all, at)
		}
	}
	return all
}

// pending are the answers that no record tells of.
func (s *stock) pending() map[pool.Place]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, all := s.now(), map[pool.Place]string{}
	for at, h := range s.heard {
		if now.Sub(h.at) < heardFor {
			all[at] = h.by[0].String()
		}
	}
	return all
}

// answering are the addresses of a segment that somebody answered for lately.
func (s *stock) answering(segment string) *addrset.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, set := s.now(), &addrset.Set{}
	maps.DeleteFunc(s.heard, func(_ pool.Place, h heard) bool { return now.Sub(h.at) >= heardFor })
	var addrs []netip.Addr
	for at := range s.heard {
		if at.Segment == segment {
			addrs = append(addrs, at.Addr)
		}
	}
	set.Fill(addrs)
	return set
}

// of are the addresses of the stock of a network that are fresh, the lowest
// first.
func (s *stock) of(network string) (all []pool.Place) {
	lasting := s.lasting(network)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for at, since := range s.silent[network] {
		if now.Sub(since) < lasting {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, func(a, b pool.Place) int { return a.Addr.Compare(b.Addr) })
	return all
}

// forget forgets networks that are gone.
func (s *stock) forget(known func(network string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.silent, func(network string, _ map[pool.Place]time.Time) bool { return !known(network) })
}
