package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// nodeName is a node's own name, and its host's name and address, "" while
// they are not known.
type nodeName struct{ node, host, address string }

// isPlugin tells a managed plugin from a socket agent. Both may run on a host,
// each a node of its own: the one serves the swarm's networks only, the other
// all but those.
func isPlugin(node string) bool { return strings.HasSuffix(node, swarmSuffix) }

// nodeNames are those of every node.
func (p *parts) nodeNames() []nodeName {
	var all []nodeName
	for _, row := range p.rows() {
		all = append(all, nodeName{node: row.Node, host: row.Store.Description.Host, address: row.Store.Description.Address})
	}
	return all
}

// byHost puts the nodes of one host together, its socket agent first: those
// that differ in the plugin's suffix only, or, where just one of them was given
// a --node-name, those with one host name and address.
func byHost(all []nodeName) [][]nodeName {
	var hosts [][]nodeName
	for _, n := range all {
		if !isPlugin(n.node) {
			hosts = append(hosts, []nodeName{n})
		}
	}
	for _, n := range all {
		if !isPlugin(n.node) {
			continue
		}
		i := slices.IndexFunc(hosts, func(h []nodeName) bool { return h[0].node+swarmSuffix == n.node })
		if i < 0 {
			i = slices.IndexFunc(hosts, func(h []nodeName) bool {
				return len(h) == 1 && !isPlugin(h[0].node) && n.host != "" && n.address != "" && h[0].host == n.host && h[0].address == n.address &&
					!slices.ContainsFunc(all, func(o nodeName) bool { return o.node == h[0].node+swarmSuffix })
			})
		}
		if i < 0 {
			hosts = append(hosts, []nodeName{n})
		} else {
			hosts[i] = append(hosts[i], n)
		}
	}
	slices.SortFunc(hosts, func(a, b []nodeName) int { return strings.Compare(a[0].node, b[0].node) })
	return hosts
}

// hostOf is the name of a host that byHost put together, or "".
func hostOf(nodes []nodeName) (host string) {
	for _, n := range nodes {
		host = cmp.Or(host, n.host)
	}
	return host
}

// callNodes returns what people call the host of each node: by its name; by
// the node where that is not known, or the name of several hosts.
func callNodes(all []nodeName) func(node string) string {
	called, count := map[string]string{}, map[string]int{}
	hosts := byHost(all)
	for _, nodes := range hosts {
		count[hostOf(nodes)]++
	}
	for _, nodes := range hosts {
		if host := hostOf(nodes); host != "" && count[host] == 1 {
			for _, n := range nodes {
				called[n.node] = host
			}
		}
	}
	return func(node string) string { return cmp.Or(called[node], node) }
}

// callAgents is callNodes where two agents of one host have to be told apart.
func callAgents(all []nodeName) func(node string) string {
	called, beside := callNodes(all), map[string]bool{}
	for _, nodes := range byHost(all) {
		for _, n := range nodes[1:] {
			beside[n.node] = true
		}
	}
	return func(node string) string {
		if name := called(node); !beside[node] || name == node {
			return name
		}
		return called(node) + " (swarm)"
	}
}

// nodesCalled finds a node by its own name, or all those of a host by the
// host's, which must not be that of several.
func nodesCalled(all []nodeName, name string) ([]string, error) {
	var on [][]string
	for _, nodes := range byHost(all) {
		var ids []string
		for _, n := range nodes {
			ids = append(ids, n.node)
		}
		if hostOf(nodes) == name {
			on = append(on, ids)
		} else if slices.Contains(ids, name) {
			return []string{name}, nil
		}
	}
	switch len(on) {
	case 0:
		return nil, fmt.Errorf("no node is called %s: gvlan node ls lists them", name)
	case 1:
		return on[0], nil
	}
	var nodes []string
	for _, ids := range on {
		if slices.Contains(ids, name) {
			return []string{name}, nil
		}
		nodes = append(nodes, ids[0])
	}
	return nil, fmt.Errorf("%d hosts are called %s: give one of their nodes instead, %s", len(on), name, strings.Join(nodes, " or "))
}
