package nodes

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// printNodes is `gvlan node ls`.
func printNodes(out io.Writer, views []api.NodeView, now time.Time) error {
	terminal.InCells(&views)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NODE\tHOST\tSTATE\tFOR\tADDRESS\tVERSION\tNETWORKS\tENDPOINTS\tPARENTS\tAGENTS")
	for _, v := range views {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", v.Node, terminal.OrDash(v.Host), eachAgent(v, stateOf), terminal.OrDash(terminal.Since(worseOf(v).Since, now)),
			terminal.OrDash(eachAgent(v, func(v api.NodeView) string { return v.Address })), terminal.OrDash(eachAgent(v, func(v api.NodeView) string { return v.Version })),
			len(networksOf(v)), endpointsOf(v), terminal.OrDash(strings.Join(parentsOf(v), ",")), kindsOf(v))
	}
	if err := table.Flush(); err != nil || !slices.ContainsFunc(views, func(v api.NodeView) bool { return v.Stale }) {
		return err
	}
	_, err := fmt.Fprintln(out, "\netcd does not answer this host: which nodes are connected to it is what it said last")
	return err
}

// stateOf adds what an operator did to the node.
func stateOf(v api.NodeView) string {
	state := v.State
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
func printNode(out io.Writer, v api.NodeView, now time.Time) error {
	terminal.InCells(&v)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, a := range agentsOf(v) {
		if i > 0 {
			fmt.Fprintln(table)
		}
		fmt.Fprintf(table, "node\t%s (host %s, address %s)\n", a.Node, a.Host, a.Address)
		fmt.Fprintf(table, "state\t%s for %s\n", stateOf(a), terminal.OrDash(terminal.Since(a.Since, now)))
		fmt.Fprintf(table, "agent\t%s, gvlan %s, epoch %d\n", kindOf(a), a.Version, a.Epoch)
	}
	fmt.Fprintln(table, "\nINTERFACE\tKIND\tSTATE\tMTU\tADDRESSES\tOF\tVLAN\tUSED BY")
	for _, i := range interfacesOf(v) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", i.Name, i.Kind, upDown(i.Up), i.MTU, terminal.OrDash(strings.Join(i.Addresses, ",")),
			terminal.OrDash(i.Master+i.Parent), vlanText(i), terminal.OrDash(strings.Join(i.UsedBy, ",")))
	}
	fmt.Fprintln(table, "\nNETWORK\tSTATE\tPARENT NOW\tLINKS\tWHY")
	for _, n := range networksOf(v) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.State, terminal.OrDash(n.Parent), terminal.OrDash(strings.Join(n.Links, ",")), terminal.OrDash(n.Why))
	}
	return table.Flush()
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

func vlanText(i store.Interface) string {
	if i.VLAN == 0 {
		return "-"
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

// worseOf is the agent whose state the host's row shows: the swarm's plugin
// when only that one is not ready, else the socket agent.
func worseOf(v api.NodeView) api.NodeView {
	if v.Swarm != nil && v.State == string(cluster.Ready) && v.Swarm.State != v.State {
		return *v.Swarm
	}
	return v
}

// endpointsOf counts those of both agents.
func endpointsOf(v api.NodeView) string {
	sum := 0
	for _, a := range agentsOf(v) {
		if a.Endpoints == nil {
			return "-"
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
