package facts

import (
	"slices"
	"strconv"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// HostState is a node's state with what an operator did to the node.
func HostState(v api.NodeView) string {
	state := api.Word(v.State)
	if v.Stopped && v.State == string(cluster.Down) {
		state += ", stopped"
	}
	if v.Drained {
		state += ", drained"
	}
	if v.Evicted && v.State != string(cluster.Evicted) {
		state += ", evicted"
	}
	return state
}

// Agents are the views of a host's agents, one each.
func Agents(v api.NodeView) []api.NodeView {
	first, second := v, v.Swarm
	first.Swarm = nil
	if second == nil {
		return []api.NodeView{first}
	}
	return []api.NodeView{first, *second}
}

// AgentKind names the agent a view is of: the socket agent or the swarm's plugin.
func AgentKind(v api.NodeView) string {
	if config.IsPlugin(v.Node) {
		return "swarm"
	}
	return "socket"
}

// EachAgent prints a property of a host's agents: once when they agree, else of
// each.
func EachAgent(v api.NodeView, of func(api.NodeView) string) string {
	said := of(v)
	if v.Swarm == nil || of(*v.Swarm) == said {
		return said
	}
	return terminal.OrDash(said) + "; swarm: " + terminal.OrDash(of(*v.Swarm))
}

// Interfaces are those of the host that either agent saw, each with the
// networks of both that use it.
func Interfaces(v api.NodeView) (all []store.Interface) {
	for _, a := range Agents(v) {
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

// HostContainers counts those of both agents; "" while it is not known.
func HostContainers(v api.NodeView) string {
	sum := 0
	for _, a := range Agents(v) {
		if a.Endpoints == nil {
			return ""
		}
		sum += *a.Endpoints
	}
	return strconv.Itoa(sum)
}

// HostCalled is the view of the host with that name, or of the node with it.
func HostCalled(hosts []api.NodeView, name string) (api.NodeView, error) {
	var names []api.NodeName
	for _, v := range hosts {
		for _, a := range Agents(v) {
			names = append(names, api.NodeName{Node: a.Node, Host: a.Host, Address: a.Address})
		}
	}
	nodes, err := api.NodesCalled(names, name)
	if err != nil {
		return api.NodeView{}, err
	}
	has := func(v api.NodeView) bool {
		return slices.ContainsFunc(Agents(v), func(a api.NodeView) bool { return a.Node == nodes[0] })
	}
	return hosts[slices.IndexFunc(hosts, has)], nil
}
