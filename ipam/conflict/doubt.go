package conflict

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/ipam/pool"
)

// A router that does proxy ARP, or a container that means harm, answers for every
// address. What such a one says is believed up to a bound: beyond it an address
// is given as if nobody had answered, and people are told.
const (
	// MostOfOne is for how many addresses of a segment one MAC address is believed.
	MostOfOne = 32
	// mostShare is which part of what a network gives may be in conflict, whoever
	// answers: one in so many.
	mostShare = 2
	// MostInPool is how many of what a network gives may be: who has a new MAC address
	// for each answer would else keep starts from a large network for very long.
	MostInPool = 1024
	// doubtFor is how long after its last answer people are told of it.
	doubtFor = 10 * time.Minute
	// mostDoubted bounds of how many MAC addresses people are told: a storm has a
	// new one each time.
	mostDoubted = 16
)

// who is a MAC address in a segment.
type who struct{ segment, mac string }

// doubted is one whose answers are not believed any more.
type doubted struct {
	network string
	own     string // whose of the cluster's; "": nobody's
	last    time.Time
}

// doubts are those.
type doubts struct {
	mu  sync.Mutex
	all map[who]doubted
	now func() time.Time
}

func newDoubts(now func() time.Time) *doubts { return &doubts{all: map[who]doubted{}, now: now} }

// note reports whether it is news.
func (d *doubts) note(w who, network, own string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	maps.DeleteFunc(d.all, func(_ who, had doubted) bool { return now.Sub(had.last) > doubtFor })
	_, known := d.all[w]
	if !known && len(d.all) == mostDoubted {
		return false
	}
	d.all[w] = doubted{network, own, now}
	return !known
}

// Pool is what a network gives addresses of.
type Pool struct {
	ID      string // of the network, the engine's
	Network string // its name
	Segment string
	Ranges  []netip.Prefix
	Subnets []netip.Prefix
}

// size is how many addresses that are, as a float64 counts them.
func (p Pool) size() (n float64) {
	for _, r := range p.Ranges {
		host := r.Addr().BitLen() - r.Bits()
		n += float64(uint64(1) << min(host, 62))
	}
	return n
}

func (p Pool) has(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Ranges, func(r netip.Prefix) bool { return r.Contains(addr) })
}

// Believes returns the first MAC address whose answer for an address counts; with
// none of them the address may be given. What is not believed people are told of.
// Besides the conflicts count the answers that are none yet.
func (cs *Conflicts) Believes(at pool.Place, by []net.HardwareAddr, of Pool, besides map[pool.Place]string) (mac net.HardwareAddr, believed bool) {
	answered := map[netip.Addr]string{}
	for other, mac := range besides {
		if other.Segment == at.Segment {
			answered[other.Addr] = mac
		}
	}
	for _, c := range cs.All() {
		if c.Endpoint == "" && c.Segment == at.Segment {
			answered[c.Address] = c.MAC
		}
	}
	delete(answered, at.Addr)
	count, inPool := map[string]int{}, 0
	for addr, mac := range answered {
		count[mac]++
		if of.has(addr) {
			inPool++
		}
	}
	full := inPool >= MostInPool || float64(mostShare*(inPool+1)) > max(of.size(), mostShare)
	for _, mac := range by {
		if !full && count[mac.String()] < MostOfOne {
			return mac, true
		}
	}
	for _, mac := range by {
		if cs.doubt.note(who{at.Segment, mac.String()}, of.Network, cs.cfg.Own(at, mac)) {
			said := excess(mac.String(), of.Network, cs.cfg.Own(at, mac))
			cs.cfg.Log.Error(said, "segment", at.Segment)
			cs.cfg.Events.Tell(events.Event{Kind: events.Conflict, Network: of.Network, Segment: at.Segment, MAC: mac.String(), Text: said})
		}
	}
	return nil, false
}

// excess says that somebody answers for too much.
func excess(mac, network, own string) string {
	on := ""
	if network != "" {
		on = " of network " + network
	}
	if own != "" {
		mac += " (" + own + ")"
	}
	return fmt.Sprintf("MAC %s answers for very many addresses on the LAN%s: its answers are not believed any more, and containers are given such addresses: "+
		"find it (proxy ARP on a router, an attack), end that, then gvlan conflict clear", mac, on)
}

// Warnings tell of those whose answers are not believed, and of addresses of this
// host's containers, or of others' that this host heard of, that are in use twice.
func (cs *Conflicts) Warnings() (said []string) {
	for _, c := range cs.All() {
		if c.Endpoint != "" && (c.Node == cs.cfg.Node || c.Holder == cs.cfg.Node) {
			said = append(said, fmt.Sprintf("address %s of container %s is used on the LAN by MAC %s too: give that machine another address, or stop the container and start it again",
				c.Address, cmp.Or(c.Container, c.Endpoint[:min(len(c.Endpoint), 12)]), Called(c.MAC, c.Vendor)))
		}
	}
	cs.doubt.mu.Lock()
	defer cs.doubt.mu.Unlock()
	for w, d := range cs.doubt.all {
		if cs.cfg.Now().Sub(d.last) <= doubtFor {
			said = append(said, excess(w.mac, d.network, d.own))
		}
	}
	slices.SortFunc(said, strings.Compare)
	return said
}
