package zone

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
)

// snapshot is everything the zone knows at one moment. It never changes, so
// reading it takes no lock.
type snapshot struct {
	domain   string              // folded, without dots around it
	networks map[string]*network // by id
	labels   map[string]string   // a zone's label below the domain (folded network name): network id
	parents  map[string]bool     // what lies above a zone whose name has dots
	reverse  *table              // by the 16 bytes of an address
	ranks    []uint8             // by member.node: 0 is this node, the highest is dead
	serial   uint32              // of the SOA: low 32 bits of the store's revision the names are true of
	refused  []Conflict
}

// network is one network's names.
type network struct {
	id      string
	label   string // folded name; "" while unknown or not a DNS name
	zoned   bool   // label is its own in the domain
	off     bool   // -o dns=off
	defined bool   // has a definition; else it is one engine's own
	names   *table
	size    int // members
	subnets []netip.Prefix
	counts  *Counts
}

// Scope says which networks a question may see. Names, addresses and
// services of any other network do not exist for it. The zero Scope sees
// none.
type Scope struct {
	all      bool
	networks []string // definition uuids, or the engine's id of a local network
}

// Everything is the scope of the host itself: fully qualified names and
// addresses of every network, no short names.
func Everything() Scope { return Scope{all: true} }

// Networks is the scope of who is on these networks and no others.
func Networks(ids ...string) Scope {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return Scope{networks: slices.Compact(ids)}
}

// sees reports whether the scope holds a network. Scopes are a container's
// networks, so a walk beats any index.
func (s Scope) sees(n *network) bool {
	if n == nil || n.off {
		return false
	}
	return s.all || slices.Contains(s.networks, n.id)
}

// kind says what a name that exists is.
type kind uint8

const (
	nowhere  kind = iota // not ours: whoever is next in line may know
	absent               // ours, and there is no such name
	empty                // exists with no data of its own: an apex, an empty non-terminal
	host                 // stands for containers
	service              // _port._proto.host
	pointer              // a reverse name somebody holds
	unheld               // a reverse name in a subnet of ours that no container holds
	apex                 // the domain itself
	nsname               // the name server's own name
	backward             // apex of a reverse zone
)

// found is the outcome of looking up a name.
type found struct {
	kind    kind
	net     *network // nil above the networks
	bare    bool     // matched without the network's name
	below   bool     // below the domain: ours alone, never passed on
	mixed   bool     // members spell the name in different ways
	at      uint8    // where the members' name begins in the question's
	size    uint8    // and how long it is
	members []*member
	service string // for kind service: without "_"
	proto   string
	zone    netip.Prefix // for reverse names: the zone it belongs to
}

// lookup finds a folded name. It does not allocate for names of containers
// and their addresses.
func (s *snapshot) lookup(scope Scope, name []byte) found {
	if string(name) == s.domain {
		return found{kind: apex, below: true}
	}
	if p, ok := reversePrefix(name); ok {
		return s.lookupReverse(scope, p)
	}
	rel, ok := cutSuffix(name, s.domain)
	if ok && rel[len(rel)-1] == '.' && len(rel) > 1 {
		f := s.lookupBelow(scope, rel[:len(rel)-1])
		f.below = true
		return f
	}
	if scope.all {
		return found{}
	}
	if f := s.lookupZoned(scope, name); f.kind >= host {
		return f
	}
	return s.lookupBare(scope, name)
}

// lookupBelow finds a name given without the domain.
func (s *snapshot) lookupBelow(scope Scope, rel []byte) found {
	if string(rel) == "ns" {
		return found{kind: nsname}
	}
	if f := s.lookupZoned(scope, rel); f.kind != nowhere {
		return f
	}
	if id, ok := s.labels[string(rel)]; ok && scope.sees(s.networks[id]) {
		return found{kind: empty, net: s.networks[id]}
	}
	if s.above(scope, string(rel)) {
		return found{kind: empty}
	}
	return found{kind: absent}
}

// above reports whether a zone in scope lies further down, which makes the
// name an empty non-terminal.
func (s *snapshot) above(scope Scope, rel string) bool {
	if scope.all {
		return s.parents[rel]
	}
	for _, id := range scope.networks {
		if net := s.networks[id]; scope.sees(net) && net.zoned && strings.HasSuffix(net.label, "."+rel) {
			return true
		}
	}
	return false
}

// lookupZoned finds <name>.<network>; nowhere means no such network in
// scope. Network names may hold dots, so the longest one wins.
func (s *snapshot) lookupZoned(scope Scope, rel []byte) found {
	for i := 0; ; i++ {
		dot := bytes.IndexByte(rel[i:], '.')
		if dot < 0 {
			return found{}
		}
		i += dot
		net := s.networks[s.labels[string(rel[i+1:])]]
		if i > 0 && scope.sees(net) {
			f := net.lookup(rel[:i])
			f.net = net
			return f
		}
	}
}

// lookupBare finds a name without its network: in the networks in scope, in
// the order of their names, so that every query of a client that is on
// several is answered from the same one.
func (s *snapshot) lookupBare(scope Scope, name []byte) found {
	var best found
	for _, id := range scope.networks {
		net := s.networks[id]
		if !scope.sees(net) || best.net != nil && best.net.before(net) {
			continue
		}
		if f := net.lookup(name); f.kind >= host {
			best, best.net, best.bare = f, net, true
		}
	}
	return best
}

// before orders networks by name, then by id.
func (n *network) before(o *network) bool {
	if c := strings.Compare(n.label, o.label); c != 0 {
		return c < 0
	}
	return n.id < o.id
}

// lookup finds a name below a network.
func (n *network) lookup(rel []byte) found {
	var f found
	if rel[0] == '_' {
		if f = n.lookupService(rel); f.kind == service {
			return f
		}
	}
	if e := n.names.get(rel); e != nil {
		if len(e.members) > 0 {
			return found{kind: host, members: e.members, mixed: e.mixed, size: uint8(len(rel))}
		}
		return found{kind: empty}
	}
	if f.kind == empty {
		return f
	}
	return found{kind: absent}
}

// lookupService finds _port._proto.<host>; _proto.<host> alone is an empty
// non-terminal.
func (n *network) lookupService(rel []byte) found {
	first, rest, _ := bytes.Cut(rel, []byte{'.'})
	if len(rest) == 0 {
		return found{kind: absent}
	}
	if rest[0] != '_' {
		if e := n.names.get(rest); e != nil && anyPort(e.members, "", string(first[1:])) {
			return found{kind: empty}
		}
		return found{kind: absent}
	}
	second, owner, _ := bytes.Cut(rest, []byte{'.'})
	e := n.names.get(owner)
	f := found{kind: service, service: string(first[1:]), proto: string(second[1:])}
	if e == nil || !anyPort(e.members, f.service, f.proto) {
		return found{kind: absent}
	}
	f.members, f.mixed = e.members, e.mixed
	f.at, f.size = uint8(len(rel)-len(owner)), uint8(len(owner))
	return f
}

// anyPort reports whether a member has a port of that name ("": any) and
// protocol.
func anyPort(members []*member, service, proto string) bool {
	for _, m := range members {
		for _, p := range m.ports {
			if p.proto == proto && (service == "" || p.service == service) {
				return true
			}
		}
	}
	return false
}

// exact keeps of a name found those members that spell it as the question
// does, if there are any. The question's name is folded byte for byte, so what
// was found is at the same place in it.
func (f found) exact(question string) found {
	from, to := int(f.at), int(f.at)+int(f.size)
	if !f.mixed || to > len(question) {
		return f
	}
	name := question[from:to]
	var exact []*member
	for _, m := range f.members {
		if m.spells(name) {
			exact = append(exact, m)
		}
	}
	if len(exact) > 0 {
		f.members = exact
	}
	return f
}

// own is the name a member is pointed to by: spelled as it was given where
// another container would answer for the folded form.
func (n *network) own(m *member) string {
	if m.spelled != nil {
		if e := n.names.get([]byte(m.names[0])); e != nil && e.mixed {
			return m.spelled[0]
		}
	}
	return m.names[0]
}

// turns begins a walk; spin is any number that differs from question to
// question.
func (s *snapshot) turns(members []*member, spin uint32) turn {
	t := turn{members: members, ranks: s.ranks}
	if len(members) > 1 {
		t.start = int(spin % uint32(len(members)))
	}
	return t
}

// lookupReverse finds a reverse name. An address that only a network out of
// scope holds is absent, and stays so: passing the question on could answer
// it.
func (s *snapshot) lookupReverse(scope Scope, p netip.Prefix) found {
	if !p.IsSingleIP() {
		return s.lookupPartial(scope, p)
	}
	holders := s.holders(p.Addr())
	if len(holders) == 1 {
		if net := s.networks[holders[0].network]; scope.sees(net) && net.zoned {
			return found{kind: pointer, members: holders, net: net}
		}
	}
	hidden := false
	var seen []*member
	for _, m := range holders {
		net := s.networks[m.network]
		switch {
		case scope.sees(net) && net.zoned:
			seen = append(seen, m)
		case !net.off:
			hidden = true
		}
	}
	zone, ours := s.reverseZone(scope, p)
	switch {
	case len(seen) > 0:
		return found{kind: pointer, members: seen, net: s.networks[seen[0].network], zone: zone}
	case hidden:
		return found{kind: absent, zone: zone}
	case ours:
		return found{kind: unheld, zone: zone}
	}
	return found{}
}

// holders returns who has an address, in whatever network.
func (s *snapshot) holders(addr netip.Addr) []*member {
	if !addr.IsValid() {
		return nil
	}
	key := addr.As16()
	if e := s.reverse.get(key[:]); e != nil {
		return e.members
	}
	return nil
}

// lookupPartial finds a reverse name that is no full address: the apex of a
// reverse zone, or something between it and the addresses.
func (s *snapshot) lookupPartial(scope Scope, p netip.Prefix) found {
	zone, ok := s.reverseZone(scope, p)
	switch {
	case !ok:
		return found{}
	case zone == p:
		return found{kind: backward, zone: zone}
	}
	return found{kind: empty, zone: zone}
}

// reverseZone returns the smallest reverse zone in scope that encloses p,
// and whether p, if it is one address, lies in a subnet at all (a reverse
// zone may be larger than its subnet).
func (s *snapshot) reverseZone(scope Scope, p netip.Prefix) (best netip.Prefix, ok bool) {
	for _, net := range s.networks {
		if !scope.sees(net) {
			continue
		}
		for _, subnet := range net.subnets {
			if !subnet.Overlaps(p) {
				continue
			}
			for _, zone := range reverseZones(subnet) {
				if zone.Bits() <= p.Bits() && zone.Contains(p.Addr()) && (!ok || zone.Bits() > best.Bits()) {
					best, ok = zone, true
				}
			}
		}
	}
	if !ok {
		best, _ = p.Addr().Prefix(min(defaultReverseZone(p.Addr()), p.Bits()))
	}
	return best, ok
}

// defaultReverseZone is the length of the reverse zone a held address
// outside every known subnet is said to be in.
func defaultReverseZone(addr netip.Addr) int {
	if addr.Is4() {
		return 24
	}
	return 64
}
