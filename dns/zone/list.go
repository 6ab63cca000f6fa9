package zone

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	miekg "github.com/miekg/dns"
)

// Record is one name of one endpoint, for people.
type Record struct {
	Name      string       `json:"name"`    // below its network: folded, or as it is spelled where that makes a difference
	Network   string       `json:"network"` // folded name; "" for a network that has no zone
	Node      string       `json:"node"`    // node id of the host the container runs on
	Addresses []netip.Addr `json:"addresses"`
	// Namesake is set where a container of another host on that network is called so
	// too (Namesakes).
	Namesake bool `json:"namesake,omitempty"`
}

// Names returns every name in scope, ordered by network, name and node.
func (z *Zone) Names(scope Scope) []Record {
	z.mu.Lock()
	s, nodes, shared := z.now(), z.nodeIDs(), maps.Clone(z.shared)
	z.mu.Unlock()
	var all []Record
	for _, net := range s.networks {
		if !scope.sees(net) {
			continue
		}
		label := net.label
		if !net.zoned {
			label = ""
		}
		for _, shard := range net.names.shards {
			for name, e := range shard {
				for _, m := range e.members {
					ways := []string{name}
					if e.mixed {
						ways = m.spellings(name)
					}
					namesake := !m.second && m.names[0] == name && len(shared[ownName{net.id, name}]) > 0
					for _, way := range ways {
						all = append(all, Record{Name: way, Network: label, Node: nodes[m.node], Addresses: m.addrs(), Namesake: namesake})
					}
				}
			}
		}
	}
	slices.SortFunc(all, Record.compare)
	return all
}

func (r Record) compare(o Record) int {
	if r.Network != o.Network { // most differ in one of the first two
		return strings.Compare(r.Network, o.Network)
	}
	if r.Name != o.Name {
		return strings.Compare(r.Name, o.Name)
	}
	return cmp.Or(strings.Compare(r.Node, o.Node), slices.CompareFunc(r.Addresses, o.Addresses, netip.Addr.Compare))
}

// Stand is an address that a name stands for: one of a network, by its id, since
// several may have the same.
type Stand struct {
	Network string
	Address netip.Addr
}

// Called returns what a name stands for in any network: bare, with its network's
// name, or with the domain.
func (z *Zone) Called(name string) (all []Stand) {
	var buf [maxName]byte
	folded, ok := foldQuery(buf[:0], name)
	if !ok || len(folded) == 0 {
		return nil
	}
	s := z.now()
	members := s.lookup(Everything(), folded).members
	members = slices.Concat(members, s.lookupZoned(Everything(), folded).members)
	for _, net := range s.networks {
		members = slices.Concat(members, net.lookup(folded).members)
	}
	for _, m := range members {
		for _, addr := range m.addrs() {
			all = append(all, Stand{m.network, addr})
		}
	}
	slices.SortFunc(all, func(a, b Stand) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), a.Address.Compare(b.Address))
	})
	return slices.Compact(all)
}

// nodeIDs returns the nodes by their index. The caller holds z.mu.
func (z *Zone) nodeIDs() []string {
	ids := make([]string, len(z.nodes))
	for id, i := range z.nodes {
		ids[i] = id
	}
	return ids
}

// Conflict says why a network has no zone of its own. Its containers still
// answer by their bare names.
type Conflict struct {
	Network string // name
	Label   string // what it folds to
	With    string // the other network's name; "" when the name cannot stand in the DNS
}

// Doubt is what to say about it.
func (c Conflict) Doubt() string {
	if c.With == "" {
		return fmt.Sprintf("network %s has no full names, for what it is called cannot stand in one: its containers answer to their bare names", c.Network)
	}
	return fmt.Sprintf("network %s has no full names, for %s would have the same (%s): its containers answer to their bare names", c.Network, c.With, c.Label)
}

// Conflicts returns the networks that have no zone, and why, ordered by
// name.
func (z *Zone) Conflicts() []Conflict { return slices.Clone(z.now().refused) }

// Namesakes is one container name that several hosts use in one network.
// Each engine sees to it that its own are unique, and nobody that all are:
// the name is answered with the addresses of all of them.
type Namesakes struct {
	Name    string   // folded
	Network string   // as Docker knows it, as far as that is known
	Nodes   []string // ids of the hosts, two or more, in order
}

// Doubt is what to say about them; called is what people call a node.
func (n Namesakes) Doubt(called func(node string) string) string {
	var hosts []string
	for _, node := range n.Nodes {
		hosts = append(hosts, called(node))
	}
	slices.Sort(hosts)
	last := len(hosts) - 1
	return fmt.Sprintf("container name %s is used on hosts %s and %s in network %s: it answers with the addresses of all of them",
		n.Name, strings.Join(hosts[:last], ", "), hosts[last], n.Network)
}

// Namesakes returns the container names in scope that more than one host
// uses, ordered by network and name.
func (z *Zone) Namesakes(scope Scope) []Namesakes {
	z.mu.Lock()
	defer z.mu.Unlock()
	s, ids := z.now(), z.nodeIDs()
	var all []Namesakes
	for own, nodes := range z.shared {
		net := s.networks[own.network]
		if !scope.sees(net) {
			continue
		}
		n := Namesakes{Name: own.name, Network: z.nameOf(net)}
		for _, node := range nodes {
			n.Nodes = append(n.Nodes, ids[node])
		}
		slices.Sort(n.Nodes)
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b Namesakes) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), strings.Compare(a.Name, b.Name))
	})
	return all
}

// nameOf returns a network's name as Docker knows it, as far as it is
// known. The caller holds z.mu.
func (z *Zone) nameOf(net *network) string {
	for _, d := range z.definitions {
		if d.id == net.id {
			return d.name
		}
	}
	return net.label
}

// ReverseZones returns the reverse zones of every network's subnets, as
// names without a trailing dot, in order.
func (z *Zone) ReverseZones() []string {
	var zones []string
	for _, net := range z.now().networks {
		if net.off {
			continue
		}
		for _, subnet := range net.subnets {
			for _, zone := range reverseZones(subnet) {
				zones = append(zones, strings.TrimSuffix(reverseName(zone), "."))
			}
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// Counts returns the counters of every zone, the networks' ordered by name
// and then the three that are no network's.
func (z *Zone) Counts() []ZoneCounts {
	var all []ZoneCounts
	for _, net := range z.now().networks {
		all = append(all, ZoneCounts{cmp.Or(net.label, net.id), net.counts})
	}
	slices.SortFunc(all, func(a, b ZoneCounts) int { return strings.Compare(a.Zone, b.Zone) })
	return append(all,
		ZoneCounts{DomainCounts, &z.domainCounts},
		ZoneCounts{ReverseCounts, &z.reverseCounts},
		ZoneCounts{PassedCounts, &z.passedCounts})
}

// Looked is what a question would be answered.
type Looked struct {
	Text    string // in the form dig shows
	Known   bool   // false when the name is not the zone's: a client's question would be passed on
	Missing bool   // the zone says that there is no such name (NXDOMAIN, RFC 8020)
}

// Lookup answers one question as a client in that scope would be answered
// over TCP.
func (z *Zone) Lookup(scope Scope, name, qtype string) (Looked, error) {
	t, ok := miekg.StringToType[strings.ToUpper(qtype)]
	if !ok {
		return Looked{}, fmt.Errorf("record type %q is not known: use one such as A, AAAA, PTR, SRV or TXT", qtype)
	}
	if _, ok := miekg.IsDomainName(name); !ok {
		return Looked{}, fmt.Errorf("name %q is not a domain name", name)
	}
	q := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), t)
	m := z.Answer(q, Asker{Scope: scope, Recursion: true, Stream: true}).Msg
	if m == nil {
		return Looked{}, nil
	}
	return Looked{Text: m.String(), Known: true, Missing: m.Rcode == miekg.RcodeNameError}, nil
}
