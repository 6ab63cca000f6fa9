package api

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/config"
	"gvlan/driver/journal"
)

// NodeName is a node's own name, and its host's name and address, "" while
// they are not known.
type NodeName struct{ Node, Host, Address string }

// byHost puts the nodes of one host together, its socket agent first: those
// that differ in the plugin's suffix only, or, where just one of them was given
// a --node-name, those with one host name and address.
func byHost(all []NodeName) [][]NodeName {
	var hosts [][]NodeName
	for _, n := range all {
		if !config.IsPlugin(n.Node) {
			hosts = append(hosts, []NodeName{n})
		}
	}
	for _, n := range all {
		if !config.IsPlugin(n.Node) {
			continue
		}
		i := slices.IndexFunc(hosts, func(h []NodeName) bool { return h[0].Node+config.SwarmSuffix == n.Node })
		if i < 0 {
			i = slices.IndexFunc(hosts, func(h []NodeName) bool {
				return len(h) == 1 && !config.IsPlugin(h[0].Node) && n.Host != "" && n.Address != "" && h[0].Host == n.Host && h[0].Address == n.Address &&
					!slices.ContainsFunc(all, func(o NodeName) bool { return o.Node == h[0].Node+config.SwarmSuffix })
			})
		}
		if i < 0 {
			hosts = append(hosts, []NodeName{n})
		} else {
			hosts[i] = append(hosts[i], n)
		}
	}
	slices.SortFunc(hosts, func(a, b []NodeName) int { return strings.Compare(a[0].Node, b[0].Node) })
	return hosts
}

// hostOf is the name of a host that byHost put together, or "".
func hostOf(nodes []NodeName) (host string) {
	for _, n := range nodes {
		host = cmp.Or(host, n.Host)
	}
	return host
}

// CallNodes returns what people call the host of each node: by its name; by
// the node where that is not known, or the name of several hosts.
func CallNodes(all []NodeName) func(node string) string {
	called, count := map[string]string{}, map[string]int{}
	hosts := byHost(all)
	for _, nodes := range hosts {
		count[hostOf(nodes)]++
	}
	for _, nodes := range hosts {
		if host := hostOf(nodes); host != "" && count[host] == 1 {
			for _, n := range nodes {
				called[n.Node] = host
			}
		}
	}
	return func(node string) string { return cmp.Or(called[node], node) }
}

// CallAgents is CallNodes where two agents of one host have to be told apart.
func CallAgents(all []NodeName) func(node string) string {
	called, beside := CallNodes(all), map[string]bool{}
	for _, nodes := range byHost(all) {
		for _, n := range nodes[1:] {
			beside[n.Node] = true
		}
	}
	return func(node string) string {
		if name := called(node); !beside[node] || name == node {
			return name
		}
		return called(node) + " (swarm)"
	}
}

// NodesCalled finds a node by its own name, or all those of a host by the
// host's, which must not be that of several. Its errors are the asker's (Refuse,
// Missing).
func NodesCalled(all []NodeName, name string) ([]string, error) {
	if name == "" { // the name of every host that is not known
		return nil, Refuse(errors.New("no node is named: give a host's name, as gvlan node ls lists them"))
	}
	var on [][]string
	for _, nodes := range byHost(all) {
		var ids []string
		for _, n := range nodes {
			ids = append(ids, n.Node)
		}
		if hostOf(nodes) == name {
			on = append(on, ids)
		} else if slices.Contains(ids, name) {
			return []string{name}, nil
		}
	}
	switch len(on) {
	case 0:
		return nil, Missing(fmt.Errorf("no node is called %s: gvlan node ls lists them", name))
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
	return nil, Refuse(fmt.Errorf("%d hosts are called %s: give one of their nodes instead, %s", len(on), name, strings.Join(nodes, " or ")))
}

// HostViews makes one view of the agents of each host.
func HostViews(nodes []NodeView) []NodeView {
	views, names := map[string]NodeView{}, []NodeName{}
	for _, v := range nodes {
		views[v.Node] = v
		names = append(names, NodeName{Node: v.Node, Host: v.Host, Address: v.Address})
	}
	hosts, called := []NodeView{}, CallNodes(names)
	for _, agents := range byHost(names) {
		host := views[agents[0].Node]
		if len(agents) > 1 {
			plugin := views[agents[1].Node]
			plugin.Name = called(plugin.Node)
			host.Host, host.Swarm = hostOf(agents), &plugin
		}
		host.Name = called(host.Node)
		hosts = append(hosts, host)
	}
	return hosts
}

// Word is how people are told a state of a network, of what a host has of it, of
// a node or of a member: one that needs no explanation, or that cluster/README.md explains.
// JSON has the state itself.
func Word(state string) string {
	switch state {
	case string(journal.StageCommitted), string(journal.StageReplica), string(journal.StageLocal), string(journal.StageSwarm):
		return "ready" // where it was made is nothing to act on, how far it reaches is its scope
	case string(journal.StageSeen):
		return "being made"
	case string(journal.StageGone), string(store.NetworkRemoving):
		return "being removed"
	case string(journal.StageConflict):
		return "name taken by another network"
	case string(journal.StageOrphaned):
		return "removed, but in use here"
	case StateMissing:
		return "not made yet"
	case StateNoTask:
		return "no task there"
	case string(cluster.Unreachable):
		return "unreachable"
	case string(cluster.Detached):
		return "without etcd"
	case string(gossip.Alive):
		return "answers"
	case string(gossip.Failed):
		return "silent"
	case string(gossip.Left):
		return "stopped"
	}
	return state // active, ready, down, evicted, and what a newer agent says
}
