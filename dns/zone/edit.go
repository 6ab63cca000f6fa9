package zone

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
)

// edit is one change of the zone on its way to becoming the next snapshot.
// It holds the zone's lock from edit to publish.
type edit struct {
	z        *Zone
	next     snapshot
	networks map[string]*network // copied in this edit, so free to change
	names    map[string]*draft   // by network id
	reverse  *draft
	dirty    bool // something a reader sees changed
	relabel  bool // which network has which label has to be judged again
}

// publish makes the change visible and lets the next writer in.
func (e *edit) publish() {
	defer e.z.mu.Unlock()
	e.sweep()
	if e.relabel {
		e.label()
	}
	for id, d := range e.names {
		if net, ok := e.networks[id]; ok {
			net.names = d.table
		}
	}
	if e.reverse != nil {
		e.next.reverse = e.reverse.table
	}
	next := e.next
	e.z.current.Store(&next)
	if e.dirty {
		close(e.z.changed)
		e.z.changed = make(chan struct{})
	}
}

// saw moves the serial to the newest revision the change carries. It is the
// records' revision, not the store's, which also counts what is no name.
func (e *edit) saw(c store.Change) {
	newest := store.Revision(0)
	for _, it := range c.Items {
		newest = max(newest, it.Modified)
	}
	for _, ev := range c.Events {
		newest = max(newest, ev.At, ev.Item.Modified)
	}
	if int32(uint32(newest)-e.next.serial) > 0 { // RFC 1982 order
		e.next.serial = uint32(newest)
	}
}

// list notes a list. The first one is a change even when it is empty: it
// says that there is nothing.
func (e *edit) list(c store.Change, listed *bool) {
	if c.Reset && !*listed {
		*listed, e.dirty = true, true
	}
}

func (e *edit) setDefinition(it store.Item) {
	record, err := store.Decode[store.Network](it)
	if err != nil || record.UUID == "" {
		e.dropDefinition(it.Key)
		return
	}
	d := defined{id: record.UUID, name: record.Name, off: strings.EqualFold(record.Created.Options["dns"], "off")}
	for _, p := range record.Created.Pools {
		if p.Subnet.IsValid() {
			d.subnets = append(d.subnets, p.Subnet.Masked())
		}
	}
	old, known := e.z.definitions[it.Key]
	if known && old.id == d.id && old.name == d.name && old.off == d.off && slices.Equal(old.subnets, d.subnets) {
		return
	}
	if known && old.id != d.id {
		e.dropDefinition(it.Key)
	}
	e.z.definitions[it.Key] = d
	net := e.network(d.id)
	net.defined, net.off, net.subnets = true, d.off, d.subnets
	net.label, _ = FoldName(d.name)
	e.dirty, e.relabel = true, true
}

func (e *edit) dropDefinition(key string) {
	d, known := e.z.definitions[key]
	if !known {
		return
	}
	delete(e.z.definitions, key)
	net := e.network(d.id)
	net.defined, net.off, net.label, net.subnets = false, false, "", nil
	e.dirty, e.relabel = true, true
}

func (e *edit) setEndpoint(it store.Item) {
	record, err := store.Decode[store.Endpoint](it)
	var m *member
	if err == nil && record.Network != "" {
		m = newMember(record, e.node(record.Node))
	}
	if m == nil {
		e.dropEndpoint(it.Key)
		return
	}
	e.adoptLabel(record)
	if old := e.z.members[it.Key]; old != nil {
		if old.equal(m) {
			return
		}
		e.remove(old)
	}
	e.z.members[it.Key] = m
	e.add(m)
}

func (e *edit) dropEndpoint(key string) {
	if old := e.z.members[key]; old != nil {
		delete(e.z.members, key)
		e.remove(old)
	}
}

// adoptLabel names a network that has no definition after this host's own
// endpoint on it: it is local to this engine, and nobody else's.
func (e *edit) adoptLabel(record store.Endpoint) {
	net := e.network(record.Network)
	label, ok := FoldName(record.Name)
	if !net.defined && record.Node == e.z.node && ok && net.label != label {
		net.label = label
		e.dirty, e.relabel = true, true
	}
}

func (e *edit) add(m *member) {
	net := e.network(m.network)
	net.size++
	e.dirty = true
	names := e.namesOf(net)
	for ; m != nil; m = m.also {
		for _, name := range m.names {
			names.add(name, m)
			nest(names, name, 1)
		}
		e.share(m, names)
		for _, addr := range m.addrs() {
			e.addresses().add(reverseKey(addr), m)
		}
	}
}

func (e *edit) remove(m *member) {
	net := e.network(m.network)
	net.size--
	e.dirty = true
	names := e.namesOf(net)
	for ; m != nil; m = m.also {
		for _, name := range m.names {
			names.remove(name, m)
			nest(names, name, -1)
		}
		e.share(m, names)
		for _, addr := range m.addrs() {
			e.addresses().remove(reverseKey(addr), m)
		}
	}
}

// nest counts a name at everything above it in its zone.
func nest(names *draft, name string, by int) {
	for parent := range above(name) {
		names.nest(parent, by)
	}
}

// above yields the names a name is below, nearest first.
func above(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		_, parent, found := strings.Cut(name, ".")
		for found && yield(parent) {
			_, parent, found = strings.Cut(parent, ".")
		}
	}
}

// share notes which nodes have containers of m's own name, after m came or
// went. Aliases and services are there to be shared, so only first names
// count: a container's own, or, while that is not known, what no other has.
func (e *edit) share(m *member, names *draft) {
	if m.second {
		return
	}
	name := m.names[0]
	var nodes []uint32
	if entry := names.get([]byte(name)); entry != nil {
		for _, o := range entry.members {
			if !o.second && o.names[0] == name && !slices.Contains(nodes, o.node) {
				nodes = append(nodes, o.node)
			}
		}
	}
	key := ownName{m.network, name}
	if len(nodes) < 2 {
		delete(e.z.shared, key)
		return
	}
	e.z.shared[key] = nodes
}

func reverseKey(addr netip.Addr) string {
	key := addr.As16()
	return string(key[:])
}

// network returns a network that this edit may change.
func (e *edit) network(id string) *network {
	if net, ok := e.networks[id]; ok {
		return net
	}
	if len(e.networks) == 0 {
		e.next.networks = maps.Clone(e.next.networks)
	}
	net := &network{id: id, names: newTable(), counts: new(Counts)}
	if old, ok := e.next.networks[id]; ok {
		*net = *old
	}
	e.networks[id], e.next.networks[id] = net, net
	return net
}

// sweep forgets the networks that have neither a definition nor an endpoint.
// It comes last in an edit: a record that changes leaves before it comes
// back, and a network whose only one it is would lose its label and counts.
func (e *edit) sweep() {
	for id, net := range e.networks {
		if !net.defined && net.size == 0 {
			delete(e.next.networks, id)
			delete(e.networks, id)
			e.relabel = true
		}
	}
}

func (e *edit) namesOf(net *network) *draft {
	d, ok := e.names[net.id]
	if !ok {
		d = net.names.draft()
		e.names[net.id] = d
	}
	return d
}

func (e *edit) addresses() *draft {
	if e.reverse == nil {
		e.reverse = e.next.reverse.draft()
	}
	return e.reverse
}

// node returns the index of a node in ranks, ranking it when it is new.
func (e *edit) node(id string) uint32 {
	if i, ok := e.z.nodes[id]; ok {
		return i
	}
	i := uint32(len(e.z.nodes))
	e.z.nodes[strings.Clone(id)] = i
	e.next.ranks = append(slices.Clip(e.next.ranks), e.z.rankOf(id))
	return i
}

func (e *edit) rerank() {
	ranks := make([]uint8, len(e.z.nodes))
	for id, i := range e.z.nodes {
		ranks[i] = e.z.rankOf(id)
	}
	e.dirty = e.dirty || !slices.Equal(ranks, e.next.ranks)
	e.next.ranks = ranks
}

// label decides which network has which zone. Two definitions that fold
// alike both get none, since a name must not mean one network today and
// another tomorrow; an engine's own network gives way to a definition.
func (e *edit) label() {
	claims := make(map[string][]*network)
	e.next.labels, e.next.parents, e.next.refused = make(map[string]string), make(map[string]bool), nil
	for _, net := range e.next.networks {
		switch {
		case net.off:
		case net.label != "":
			claims[net.label] = append(claims[net.label], net)
		case net.defined:
			e.next.refused = append(e.next.refused, Conflict{Network: e.z.nameOf(net)})
		}
	}
	for label, nets := range claims {
		winner := e.settle(nets)
		if winner == nil {
			continue
		}
		e.next.labels[label] = winner.id
		for parent := range above(label) {
			e.next.parents[parent] = true
		}
	}
	for id, net := range maps.Clone(e.next.networks) {
		if zoned := net.label != "" && e.next.labels[net.label] == id; zoned != net.zoned {
			e.network(id).zoned = zoned
		}
	}
	slices.SortFunc(e.next.refused, func(a, b Conflict) int {
		return strings.Compare(a.Network+"\x00"+a.With, b.Network+"\x00"+b.With)
	})
}

// settle returns which of the networks that fold to one label has its zone,
// and reports the others.
func (e *edit) settle(nets []*network) *network {
	winners := nets
	if len(nets) > 1 {
		winners = slices.DeleteFunc(slices.Clone(nets), func(n *network) bool { return !n.defined })
	}
	var winner *network
	if len(winners) == 1 {
		winner = winners[0]
	}
	for _, net := range nets {
		for _, other := range nets {
			if net != winner && other != net {
				e.next.refused = append(e.next.refused, Conflict{Network: e.z.nameOf(net), Label: net.label, With: e.z.nameOf(other)})
			}
		}
	}
	return winner
}
