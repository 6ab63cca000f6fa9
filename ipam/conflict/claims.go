package conflict

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

const (
	// mostHeard is how many claims of strangers are looked at, at a time; mostClaims
	// how many the cluster is told of.
	mostHeard  = 64
	mostClaims = 64
	// heardTwice is how long a claim waits for this host to hear of a container that
	// started just now.
	heardTwice = 2 * time.Second
	// silentFor is after which silence a claim counts as over where nobody answers.
	silentFor = 10 * time.Second
	// hostsFor is how long it is believed what the interfaces of the cluster's hosts
	// are: containers on ipvlan are heard by theirs, all the time.
	hostsFor = 10 * time.Minute
)

// claim is a MAC address that uses an address.
type claim struct {
	at  pool.Place
	mac string
}

// sighting is when it was heard.
type sighting struct{ first, last time.Time }

// sightings are the claims that this host heard lately, of addresses that
// containers have.
type sightings struct {
	mu  sync.Mutex
	all map[claim]sighting
	now func() time.Time
}

func newSightings(now func() time.Time) *sightings {
	return &sightings{all: map[claim]sighting{}, now: now}
}

func (s *sightings) note(c claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	had, known := s.all[c]
	if !known {
		if len(s.all) >= mostHeard {
			return
		}
		had.first = now
	}
	had.last = now
	s.all[c] = had
}

// due are those that wait no more; what was not heard for long is forgotten.
func (s *sightings) due() (all []claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	maps.DeleteFunc(s.all, func(_ claim, had sighting) bool { return now.Sub(had.last) > silentFor })
	for c, had := range s.all {
		if now.Sub(had.first) >= heardTwice {
			all = append(all, c)
		}
	}
	return all
}

// lately reports whether a claim was heard.
func (s *sightings) lately(c claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had, known := s.all[c]
	return known && s.now().Sub(had.last) <= silentFor
}

// of reports whether anybody was heard to use an address.
func (s *sightings) of(at pool.Place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, had := range s.all {
		if c.at == at && s.now().Sub(had.last) <= silentFor {
			return true
		}
	}
	return false
}

// Heard notes that somebody was heard on the LAN who uses an address, and reports
// whether a container has it: one with another MAC address.
func (cs *Conflicts) Heard(at pool.Place, mac net.HardwareAddr) (taken bool) {
	if _, _, held := cs.cfg.Holder(at); !held {
		return false
	}
	cs.Beside(at, mac)
	return true
}

// Beside notes that somebody uses an address that a container has.
func (cs *Conflicts) Beside(at pool.Place, mac net.HardwareAddr) {
	if !cs.isHosts(mac.String()) && cs.cfg.Own(at, mac) == "" {
		cs.heard.note(claim{at, mac.String()})
	}
}

// Claimed reports whether somebody else uses the address of a container, as far as
// this host heard.
func (cs *Conflicts) Claimed(at pool.Place) bool {
	told, known := cs.table.Row(store.ConflictKey(at.Segment, at.Addr))
	return known && told.Record.Endpoint != "" || cs.heard.of(at)
}

// isHosts reports whether a MAC address is known to be that of an interface of the
// cluster's hosts.
func (cs *Conflicts) isHosts(mac string) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.hosts[mac] && cs.cfg.Now().Sub(cs.hostsRead) < hostsFor
}

// judgeHeard tells the cluster of those who use a container's address.
func (cs *Conflicts) judgeHeard(ctx context.Context) {
	due := slices.DeleteFunc(cs.heard.due(), func(c claim) bool {
		_, told := cs.table.Row(store.ConflictKey(c.at.Segment, c.at.Addr))
		return told || cs.isHosts(c.mac)
	})
	if len(due) == 0 {
		return
	}
	claims := 0
	for _, c := range cs.All() {
		if c.Endpoint != "" {
			claims++
		}
	}
	if claims >= mostClaims {
		return
	}
	ours, err := cs.HostMACs(ctx)
	for _, c := range due {
		if err != nil || claims >= mostClaims {
			break
		}
		mac, bad := net.ParseMAC(c.mac)
		if bad != nil || ours[c.mac] || cs.cfg.Own(c.at, mac) != "" {
			continue
		}
		claims++
		err = cs.tellClaim(ctx, c, mac)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
		cs.cfg.Log.Warn("that somebody on the LAN uses a container's address cannot be told", "err", err)
	}
}

// HostMACs are those of the interfaces of all hosts: containers on ipvlan answer
// with their parent's.
func (cs *Conflicts) HostMACs(ctx context.Context) (map[string]bool, error) {
	all := map[string]bool{}
	items, _, err := cs.cfg.KV.List(ctx, store.NodesSpan())
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	for _, it := range items {
		if node, err := store.Decode[store.Node](it); err == nil {
			for _, i := range node.Interfaces {
				all[i.MAC] = true
			}
		}
	}
	cs.mu.Lock()
	cs.hosts, cs.hostsRead = all, cs.cfg.Now()
	cs.mu.Unlock()
	return all, nil
}

// tellClaim writes that somebody uses a container's address, if the container still
// has it.
func (cs *Conflicts) tellClaim(ctx context.Context, c claim, mac net.HardwareAddr) error {
	node, endpoint, held := cs.cfg.Holder(c.at)
	if !held {
		return nil
	}
	it, err := cs.cfg.KV.Get(ctx, store.EndpointKey(node, endpoint))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	e, err := store.Decode[store.Endpoint](it)
	if err != nil || e.MAC == c.mac {
		return err
	}
	now := cs.cfg.Now().Unix()
	rec := store.Conflict{
		Segment: c.at.Segment, Address: c.at.Addr, MAC: c.mac, Vendor: cs.cfg.Vendor(mac), Node: cs.cfg.Node, Network: e.Name, Since: now, Seen: now,
		Endpoint: endpoint, Holder: node, Container: e.Container.Name,
	}
	key := store.ConflictKey(rec.Segment, rec.Address)
	res, err := cs.cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Absent(key), store.Unchanged(it.Key, it.Modified)},
		Then: []store.Op{store.Put(key, store.Encode(rec))},
	})
	if err != nil || !res.Done {
		return err
	}
	cs.cfg.Log.Error("somebody on the LAN uses the address of a container: give that machine another one, or start the container again",
		"address", rec.Address, "segment", rec.Segment, "container", rec.Container, "node", rec.Holder, "mac", rec.MAC, "vendor", rec.Vendor)
	cs.cfg.Events.Tell(events.Event{
		Kind: events.Conflict, Network: rec.Network, Segment: rec.Segment, Address: rec.Address, MAC: rec.MAC, Container: rec.Container, Endpoint: rec.Endpoint,
		Text: "used on the LAN by MAC " + Called(rec.MAC, rec.Vendor) + " too",
	})
	return nil
}

// stillClaims returns who else answers for a container's address, or why nobody
// does any more.
func (cs *Conflicts) stillClaims(c store.Conflict, answers []net.HardwareAddr) (by []net.HardwareAddr, over string) {
	at := pool.At(c.Segment, c.Address)
	if _, endpoint, held := cs.cfg.Holder(at); !held || endpoint != c.Endpoint {
		return nil, "the container let go of it"
	}
	for _, mac := range answers {
		if mac.String() == c.MAC {
			return []net.HardwareAddr{mac}, ""
		}
	}
	if cs.heard.lately(claim{at, c.MAC}) {
		return nil, ""
	}
	return nil, "nobody else was heard of any more"
}
