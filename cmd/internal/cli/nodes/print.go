package nodes

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
)

// nodeList is `gvlan node ls`.
func nodeList() frame.List[api.NodeView] {
	return frame.List[api.NodeView]{
		Name: api.NodeView.Called,
		Columns: func(now time.Time) []frame.Column[api.NodeView] {
			return []frame.Column[api.NodeView]{
				{Head: "NODE", Cell: api.NodeView.Called},
				{Head: "STATE", Cell: func(v api.NodeView) string { return facts.EachAgent(v, facts.HostState) }},
				{Head: "FOR", Cell: func(v api.NodeView) string { return terminal.Since(v.Worse().Since, now) }},
				{Head: "ADDRESS", Cell: func(v api.NodeView) string {
					return facts.EachAgent(v, func(v api.NodeView) string { return v.Address })
				}},
				{Head: "CONTAINERS", Cell: facts.HostContainers},
				{Head: "PARENTS", Cell: func(v api.NodeView) string { return strings.Join(parentsOf(v), ",") }},
				{Head: "NETWORKS", Wide: true, Cell: func(v api.NodeView) string { return strconv.Itoa(len(networksOf(v))) }},
				{Head: "VERSION", Wide: true, Cell: func(v api.NodeView) string {
					return facts.EachAgent(v, func(v api.NodeView) string { return v.Version })
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

// printNode is `gvlan node inspect`.
func printNode(out io.Writer, v api.NodeView, now time.Time, wide bool) error {
	terminal.InCells(&v)
	for _, a := range facts.Agents(v) {
		about := terminal.Table{Plain: true, Rows: [][]string{
			{"node", fmt.Sprintf("%s (id %s, address %s)", a.Called(), a.Node, a.Address)},
			{"state", fmt.Sprintf("%s for %s", facts.HostState(a), terminal.OrDash(terminal.Since(a.Since, now)))},
			{"agent", fmt.Sprintf("%s, gvlan %s, epoch %d", facts.AgentKind(a), a.Version, a.Epoch)},
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
	for _, i := range facts.Interfaces(v) {
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

func kindsOf(v api.NodeView) string {
	var kinds []string
	for _, a := range facts.Agents(v) {
		kinds = append(kinds, facts.AgentKind(a))
	}
	return strings.Join(kinds, ",")
}

func networksOf(v api.NodeView) (all []store.NodeNetwork) {
	for _, a := range facts.Agents(v) {
		all = append(all, a.Networks...)
	}
	return all
}

// parentsOf are the interfaces in use.
func parentsOf(v api.NodeView) []string {
	var used []string
	for _, i := range facts.Interfaces(v) {
		if len(i.UsedBy) > 0 {
			used = append(used, i.Name)
		}
	}
	return used
}
