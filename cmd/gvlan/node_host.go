package main

import (
	"slices"
	"strconv"
	"strings"

	"gvlan/cluster"
	"gvlan/cluster/store"
)

// viewCalled is the host that has the name, or the node of that name.
func viewCalled(hosts []NodeView, name string) (NodeView, error) {
	var names []nodeName
	for _, v := range hosts {
		for _, a := range agentsOf(v) {
			names = append(names, nodeName{node: a.Node, host: a.Host, address: a.Address})
		}
	}
	nodes, err := nodesCalled(names, name)
	if err != nil {
		return NodeView{}, err
	}
	has := func(v NodeView) bool {
		return slices.ContainsFunc(agentsOf(v), func(a NodeView) bool { return a.Node == nodes[0] })
	}
	return hosts[slices.IndexFunc(hosts, has)], nil
}

// agentsOf are the views of a host's agents, one each.
func agentsOf(v NodeView) []NodeView {
	first, second := v, v.Swarm
	first.Swarm = nil
	if second == nil {
		return []NodeView{first}
	}
	return []NodeView{first, *second}
}

func kindOf(v NodeView) string {
	if isPlugin(v.Node) {
		return "swarm"
	}
	return "socket"
}

func kindsOf(v NodeView) string {
	var kinds []string
	for _, a := range agentsOf(v) {
		kinds = append(kinds, kindOf(a))
	}
	return strings.Join(kinds, ",")
}

// eachAgent is something of a host's agents, said once when they agree.
func eachAgent(v NodeView, of func(NodeView) string) string {
	said := of(v)
	if v.Swarm == nil || of(*v.Swarm) == said {
		return said
	}
	return orDash(said) + "; swarm: " + orDash(of(*v.Swarm))
}

// worseOf is the agent of the host that is not ready, for there is most to know
// of that one.
func worseOf(v NodeView) NodeView {
	if v.Swarm != nil && v.State == string(cluster.Ready) && v.Swarm.State != v.State {
		return *v.Swarm
	}
	return v
}

// endpointsOf counts those of both agents.
func endpointsOf(v NodeView) string {
	sum := 0
	for _, a := range agentsOf(v) {
		if a.Endpoints == nil {
			return "-"
		}
		sum += *a.Endpoints
	}
	return strconv.Itoa(sum)
}

func networksOf(v NodeView) (all []store.NodeNetwork) {
	for _, a := range agentsOf(v) {
		all = append(all, a.Networks...)
	}
	return all
}

// interfacesOf are those of the host that either agent saw, each
// with the networks of both that use it.
func interfacesOf(v NodeView) (all []store.Interface) {
	for _, a := range agentsOf(v) {
		for _, i := range a.Interfaces {
			at := slices.IndexFunc(all, func(have store.Interface) bool { return have.Name == i.Name })
			if at < 0 {
				all = append(all, i)
				continue
			}
			used := slices.Concat(all[at].UsedBy, i.UsedBy)
			slices.Sort(used)
			all[at].UsedBy = slices.Compact(used)
		}
	}
	return all
}

// parentsOf are the interfaces in use.
func parentsOf(v NodeView) []string {
	var used []string
	for _, i := range interfacesOf(v) {
		if len(i.UsedBy) > 0 {
			used = append(used, i.Name)
		}
	}
	return used
}
