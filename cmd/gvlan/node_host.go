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
		for _, a := range v.agents() {
			names = append(names, nodeName{a.Node, a.Host, a.Address})
		}
	}
	nodes, err := nodesCalled(names, name)
	if err != nil {
		return NodeView{}, err
	}
	has := func(v NodeView) bool {
		return slices.ContainsFunc(v.agents(), func(a NodeView) bool { return a.Node == nodes[0] })
	}
	return hosts[slices.IndexFunc(hosts, has)], nil
}

// agents are the views of a host's agents, one each.
func (v NodeView) agents() []NodeView {
	first, second := v, v.Swarm
	first.Swarm = nil
	if second == nil {
		return []NodeView{first}
	}
	return []NodeView{first, *second}
}

func (v NodeView) kind() string {
	if isPlugin(v.Node) {
		return "swarm"
	}
	return "socket"
}

func (v NodeView) kinds() string {
	var kinds []string
	for _, a := range v.agents() {
		kinds = append(kinds, a.kind())
	}
	return strings.Join(kinds, ",")
}

// each is something of a host's agents, said once when they agree.
func (v NodeView) each(of func(NodeView) string) string {
	said := of(v)
	if v.Swarm == nil || of(*v.Swarm) == said {
		return said
	}
	return orDash(said) + "; swarm: " + orDash(of(*v.Swarm))
}

// worse is the agent of the host that is not ready, for there is most to know
// of that one.
func (v NodeView) worse() NodeView {
	if v.Swarm != nil && v.State == string(cluster.Ready) && v.Swarm.State != v.State {
		return *v.Swarm
	}
	return v
}

// endpoints counts those of both agents.
func (v NodeView) endpoints() string {
	sum := 0
	for _, a := range v.agents() {
		if a.Endpoints == nil {
			return "-"
		}
		sum += *a.Endpoints
	}
	return strconv.Itoa(sum)
}

func (v NodeView) networks() (all []store.NodeNetwork) {
	for _, a := range v.agents() {
		all = append(all, a.Networks...)
	}
	return all
}

// interfaces are those of the host that either agent saw, each
// with the networks of both that use it.
func (v NodeView) interfaces() (all []store.Interface) {
	for _, a := range v.agents() {
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

// parents are the interfaces in use.
func (v NodeView) parents() []string {
	var used []string
	for _, i := range v.interfaces() {
		if len(i.UsedBy) > 0 {
			used = append(used, i.Name)
		}
	}
	return used
}
