package zone

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gvlan/cluster/store"
)

// The labels that give a container more names than Docker does.
const (
	labelSwarmService = "com.docker.swarm.service.name"
	labelSwarmTask    = "com.docker.swarm.task.name"
	labelText         = "gvlan.txt"  // a TXT record under all its names
	labelService      = "gvlan.srv." // gvlan.srv.http=8080 or 5060/udp: _http._tcp, _sip._udp
)

// member is one endpoint as the names see it. It never changes.
type member struct {
	network string // id of its network
	node    uint32 // index into the snapshot's ranks
	v4, v6  netip.Addr
	names   []string // folded, below its network; the first is the one PTR and SRV give
	spelled []string // as they were given, where one is not folded already; else nil
	ports   []port
	text    string // "" is no TXT
	// also is the same endpoint by its fixed addresses, which it has besides; nil
	// for none. Second is set there: its names are there to be shared.
	also   *member
	second bool
}

// port is one thing a member listens on, as SRV records name it.
type port struct {
	service string // "80" or "http", without its "_"
	proto   string // "tcp", "udp" or "sctp"
	number  uint16
}

// newMember reads an endpoint record; nil when it has no address or no name
// to give it.
func newMember(e store.Endpoint, node uint32) *member {
	shared := sharedNames(e.Container)
	task := e.Container.Labels[labelSwarmTask] != "" && len(e.Wants) > 0
	first := e.Container
	if task { // what the service is called is at its fixed address
		first.Aliases = nil
	}
	m := oneMember(e, first, node, task)
	if m == nil || len(e.Wants) == 0 {
		return m
	}
	last := m
	for _, also := range fixedAddresses(e, m, task) {
		if task && len(shared) == 0 {
			break
		}
		last.also = &member{network: m.network, node: node, v4: also[0], v6: also[1], ports: m.ports, text: m.text, names: m.names, spelled: m.spelled, second: true}
		if last = last.also; task {
			last.names, last.spelled = foldNames(shared)
		}
		if len(last.names) == 0 {
			last.names = []string{addressName(last)}
		}
	}
	return m
}

// sharedNames are what a task of the swarm is called as one of its service, but for
// tasks.SERVICE, which is each task by itself.
func sharedNames(c store.Container) (all []string) {
	if service := c.Labels[labelSwarmService]; service != "" {
		all = append(all, service)
	}
	return append(all, c.Aliases...)
}

// fixedAddresses pairs the addresses that an endpoint has besides, IPv4 and IPv6. A
// task's service is at them: of a family that none is wanted of, at the address that
// the task was given.
func fixedAddresses(e store.Endpoint, m *member, task bool) (pairs [][2]netip.Addr) {
	var v4, v6 []netip.Addr
	wants4, wants6 := false, false
	for _, text := range e.Wants {
		if p, err := netip.ParsePrefix(text); err == nil {
			wants4, wants6 = wants4 || p.Addr().Is4(), wants6 || p.Addr().Is6()
		}
	}
	for _, text := range e.Fixed {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
			v4 = append(v4, p.Addr())
		} else if err == nil {
			v6 = append(v6, p.Addr())
		}
	}
	if task && !wants4 && m.v4.IsValid() {
		v4 = append(v4, m.v4)
	}
	if task && !wants6 && m.v6.IsValid() {
		v6 = append(v6, m.v6)
	}
	for i := range max(len(v4), len(v6)) {
		var pair [2]netip.Addr
		if i < len(v4) {
			pair[0] = v4[i]
		}
		if i < len(v6) {
			pair[1] = v6[i]
		}
		pairs = append(pairs, pair)
	}
	return pairs
}

// oneMember is an endpoint by the addresses that it was given; a task whose service
// has a fixed address has no name of the service's but tasks.SERVICE.
func oneMember(e store.Endpoint, c store.Container, node uint32, fixed bool) *member {
	m := &member{network: e.Network, node: node, text: e.Container.Labels[labelText]}
	if p, err := netip.ParsePrefix(e.IPv4); err == nil {
		m.v4 = p.Addr()
	}
	if p, err := netip.ParsePrefix(e.IPv6); err == nil {
		m.v6 = p.Addr()
	}
	if !m.v4.Is4() && !m.v6.Is6() {
		return nil
	}
	m.names, m.spelled = memberNames(c, m, fixed)
	m.ports = memberPorts(e.Container)
	return m
}

// memberNames returns every name of a container below its network, folded and
// as it was given. Until the engine was asked it is known by its address only.
func memberNames(c store.Container, m *member, fixed bool) (names, spelled []string) {
	all := make([]string, 0, 8)
	all = append(all, c.Name)
	if len(c.ID) >= 12 {
		all = append(all, c.ID[:12])
	}
	all = append(all, c.Aliases...)
	all = append(all, c.Hostname, c.Labels[labelSwarmTask])
	if service := c.Labels[labelSwarmService]; service != "" && fixed {
		all = append(all, "tasks."+service)
	} else if service != "" {
		all = append(all, service, "tasks."+service)
	}
	if names, spelled = foldNames(all); len(names) == 0 {
		names = append(names, addressName(m))
	}
	return names, spelled
}

// foldNames folds names, each once, and returns them as they were given too where
// that makes a difference.
func foldNames(all []string) (names, spelled []string) {
	names = make([]string, 0, 3)
	odd := false
	for _, name := range all {
		folded, ok := FoldName(name)
		if !ok {
			continue
		}
		odd = odd || name != folded
		spelled = append(spelled, name)
		if !slices.Contains(names, folded) {
			names = append(names, folded)
		}
	}
	if !odd {
		spelled = nil
	}
	return slices.Clip(names), slices.Clip(spelled)
}

// addressName is the name of a container nothing else is known of.
func addressName(m *member) string {
	addr := m.v4
	if !addr.IsValid() {
		addr = m.v6
	}
	return "ip-" + strings.Map(func(r rune) rune {
		if r == '.' || r == ':' {
			return '-'
		}
		return r
	}, addr.StringExpanded())
}

func memberPorts(c store.Container) []port {
	var ports []port
	add := func(service, spec string) {
		number, proto, found := strings.Cut(spec, "/")
		if !found {
			proto = "tcp"
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || proto != "tcp" && proto != "udp" && proto != "sctp" {
			return
		}
		if service == "" {
			service = number
		}
		service, ok := FoldName(service)
		ok = ok && !strings.HasPrefix(service, "_")
		p := port{service: service, proto: proto, number: uint16(n)}
		if ok && !strings.Contains(service, ".") && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	for _, spec := range c.Ports {
		add("", spec)
	}
	for label, spec := range c.Labels {
		if service, ok := strings.CutPrefix(label, labelService); ok && service != "" {
			add(service, spec)
		}
	}
	slices.SortFunc(ports, comparePorts)
	return ports
}

func comparePorts(a, b port) int {
	if c := strings.Compare(a.proto, b.proto); c != 0 {
		return c
	}
	if c := strings.Compare(a.service, b.service); c != 0 {
		return c
	}
	return int(a.number) - int(b.number)
}

// addrs returns the addresses the member has, IPv4 first.
func (m *member) addrs() []netip.Addr {
	var addrs []netip.Addr
	for _, addr := range []netip.Addr{m.v4, m.v6} {
		if addr.IsValid() {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// single is the member's first address as a prefix of that one address.
func (m *member) single() netip.Prefix {
	addr := m.addrs()[0]
	return netip.PrefixFrom(addr, addr.BitLen())
}

// equal reports whether two members give the same names the same answers.
func (m *member) equal(o *member) bool {
	if (m.also == nil) != (o.also == nil) || m.also != nil && !m.also.equal(o.also) {
		return false
	}
	return m.network == o.network && m.second == o.second && m.node == o.node && m.v4 == o.v4 && m.v6 == o.v6 &&
		m.text == o.text && slices.Equal(m.names, o.names) && slices.Equal(m.spelled, o.spelled) && slices.Equal(m.ports, o.ports)
}

// Names that fold alike are one entry of a table, and its members answer for
// one another: `db_1` is found as `db-1`, which is what some clients insist on.
// Where several spellings are in use, the members that have the one asked for
// answer alone; where nobody has it, all of them do.

// spells reports whether a name of the member's was given exactly so.
func (m *member) spells(name string) bool {
	if m.spelled == nil {
		return slices.Contains(m.names, name)
	}
	return slices.Contains(m.spelled, name)
}

// spelling is how the member spells a folded name, to compare members by.
func (m *member) spelling(folded string) string {
	if m.spelled == nil {
		return folded
	}
	return strings.Join(m.spellings(folded), " ")
}

// spellings are the ways in which the member spells a folded name.
func (m *member) spellings(folded string) (ways []string) {
	for _, name := range m.spelled {
		if as, _ := FoldName(name); as == folded && !slices.Contains(ways, name) {
			ways = append(ways, name)
		}
	}
	if len(ways) == 0 {
		return []string{folded}
	}
	slices.Sort(ways)
	return ways
}

// The ranks of nodes, in the order their containers are answered.
const (
	rankLocal uint8 = iota
	rankAlive
	rankSuspect
	rankDead
	rankCount
)

// turn walks members in the order they are answered: by the rank of their
// node, and among equals starting one further at each question, so that
// clients which take the first address spread over all of them. It does not
// allocate.
type turn struct {
	members []*member
	ranks   []uint8
	start   int
	rank    uint8
	i       int
}

// next returns the next member, or nil after the last.
func (t *turn) next() *member {
	for ; t.rank < rankCount; t.rank, t.i = t.rank+1, 0 {
		for t.i < len(t.members) {
			at := t.start + t.i
			if at >= len(t.members) {
				at -= len(t.members)
			}
			t.i++
			if m := t.members[at]; t.ranks[m.node] == t.rank {
				return m
			}
		}
	}
	return nil
}
