package dns

import (
	"cmp"
	"slices"
	"strings"
)

// Namesakes is one container name that several hosts use in one network.
// Each engine sees to it that its own are unique, and nobody that all are:
// the name is answered with the addresses of all of them.
type Namesakes struct {
	Name    string   // folded
	Network string   // as Docker knows it, as far as that is known
	Nodes   []string // ids of the hosts, two or more, in order
}

// ownName is a container's name in a network.
type ownName struct{ network, name string }

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

// share notes which nodes have containers of m's own name, after m came or
// went. Aliases and services are there to be shared, so only first names
// count: a container's own, or, while that is not known, what no other has.
func (e *edit) share(m *member, names *draft) {
	name := m.names[0]
	var nodes []uint32
	if entry := names.get([]byte(name)); entry != nil {
		for _, o := range entry.members {
			if o.names[0] == name && !slices.Contains(nodes, o.node) {
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
