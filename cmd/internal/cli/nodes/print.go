package nodes

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// nodeList is `gvlan node ls`.
func nodeList() frame.List[api.NodeView] {
	return frame.List[api.NodeView]{
		Name: api.NodeView.Called,
		Columns: func(now time.Time) []frame.Column[api.NodeView] {
			return []frame.Column[api.NodeView]{
				{Head: "NODE", Cell: api.NodeView.Called},
				{Head: "STATE", Cell: func(v api.NodeView) string { return eachAgent(v, stateOf) }},
				{Head: "FOR", Cell: func(v api.NodeView) string { return terminal.Since(v.Worse().Since, now) }},
				{Head: "ADDRESS", Cell: func(v api.NodeView) string {
					return eachAgent(v, func(v api.NodeView) string { return v.Address })
				}},
				{Head: "CONTAINERS", Cell: endpointsOf},
				{Head: "PARENTS", Cell: func(v api.NodeView) string { return strings.Join(parentsOf(v), ",") }},
				{Head: "NETWORKS", Wide: true, Cell: func(v api.NodeView) string { return strconv.Itoa(len(networksOf(v))) }},
				{Head: "VERSION", Wide: true, Cell: func(v api.NodeView) string {
					return eachAgent(v, func(v api.NodeView) string { return v.Version })
				}},
				{Head: "AGENTS", Wide: true, Cell: kindsOf},
				{Head: "NODE ID", Wide: true, Cell: func(v api.NodeView) string { return v.Node }},
			}
		},
		After: func(out io.Writer, views []api.NodeView) error {
			if !slices.ContainsFunc(views, func(v api.NodeView) bool { return v.Stale }) {
				return nil
			}
			_, err := fmt.Fprintln(out, "\netcd does not answer this host: which nodes are connected to it is what it said last")
			return err
		},
		Empty: "no nodes are known yet",
	}
}

// stateOf adds what an operator did to the node.
func stateOf(v api.NodeView) string {
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

// printNode is `gvlan node inspect`.
func printNode(out io.Writer, v api.NodeView, now time.Time, wide bool) error {
	terminal.InCells(&v)
	for _, a := range agentsOf(v) {
		about := terminal.Table{Plain: true, Rows: [][]string{
			{"node", fmt.Sprintf("%s (id %s, address %s)", a.Called(), a.Node, a.Address)},
			{"state", fmt.Sprintf("%s for %s", stateOf(a), terminal.OrDash(terminal.Since(a.Since, now)))},
			{"agent", fmt.Sprintf("%s, gvlan %s, epoch %d", kindOf(a), a.Version, a.Epoch)},
		}}
		if err := about.Print(out); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	interfaces := terminal.Table{Heads: []string{"INTERFACE", "STATE", "ADDRESSES", "OF", "USED BY"}}
	if wide {
		interfaces.Heads = append(interfaces.Heads, "KIND", "MTU", "VLAN")
	}
	for _, i := range interfacesOf(v) {
		row := []string{i.Name, upDown(i.Up), strings.Join(i.Addresses, ","), i.Master + i.Parent, strings.Join(i.UsedBy, ",")}
		if wide {
			row = append(row, i.Kind, strconv.Itoa(i.MTU), vlanText(i))
		}
		interfaces.Rows = append(interfaces.Rows, row)
	}
	if err := interfaces.Print(out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	networks := terminal.Table{Heads: []string{"NETWORK", "STATE", "PARENT NOW", "LINKS", "WHY"}}
	for _, n := range networksOf(v) {
		networks.Rows = append(networks.Rows, []string{n.Name, api.Word(n.State), n.Parent, strings.Join(n.Links, ","), n.Why})
	}
	return networks.Print(out)
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func vlanText(i store.Interface) string {
	if i.VLAN == 0 {
		return ""
	}
	return fmt.Sprint(i.VLAN)
}

// viewCalled is the view of the host with that name, or of the node with it.
func viewCalled(hosts []api.NodeView, name string) (api.NodeView, error) {
	var names []api.NodeName
	for _, v := range hosts {
		for _, a := range agentsOf(v) {
			names = append(names, api.NodeName{Node: a.Node, Host: a.Host, Address: a.Address})
		}
	}
	nodes, err := api.NodesCalled(names, name)
	if err != nil {
		return api.NodeView{}, err
	}
	has := func(v api.NodeView) bool {
		return slices.ContainsFunc(agentsOf(v), func(a api.NodeView) bool { return a.Node == nodes[0] })
	}
	return hosts[slices.IndexFunc(hosts, has)], nil
}

// agentsOf are the views of a host's agents, one each.
func agentsOf(v api.NodeView) []api.NodeView {
	first, second := v, v.Swarm
	first.Swarm = nil
	if second == nil {
		return []api.NodeView{first}
	}
	return []api.NodeView{first, *second}
}

// kindOf names the agent a view is of: the socket agent or the swarm's plugin.
func kindOf(v api.NodeView) string {
	if config.IsPlugin(v.Node) {
		return "swarm"
	}
	return "socket"
}

func kindsOf(v api.NodeView) string {
	var kinds []string
	for _, a := range agentsOf(v) {
		kinds = append(kinds, kindOf(a))
	}
	return strings.Join(kinds, ",")
}

// eachAgent prints a property of a host's agents: once when they agree, else of
// each.
func eachAgent(v api.NodeView, of func(api.NodeView) string) string {
	said := of(v)
	if v.Swarm == nil || of(*v.Swarm) == said {
		return said
	}
	return terminal.OrDash(said) + "; swarm: " + terminal.OrDash(of(*v.Swarm))
}

// endpointsOf counts those of both agents.
func endpointsOf(v api.NodeView) string {
	sum := 0
	for _, a := range agentsOf(v) {
		if a.Endpoints == nil {
			return ""
		}
		sum += *a.Endpoints
	}
	return strconv.Itoa(sum)
}

func networksOf(v api.NodeView) (all []store.NodeNetwork) {
	for _, a := range agentsOf(v) {
		all = append(all, a.Networks...)
	}
	return all
}

// interfacesOf are those of the host that either agent saw, each with the
// networks of both that use it.
func interfacesOf(v api.NodeView) (all []store.Interface) {
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
func parentsOf(v api.NodeView) []string {
	var used []string
	for _, i := range interfacesOf(v) {
		if len(i.UsedBy) > 0 {
			used = append(used, i.Name)
		}
	}
	return used
}
