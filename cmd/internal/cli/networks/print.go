package networks

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
)

// printAge warns of views that are not of now.
func printAge(out io.Writer, asOf, now time.Time) (err error) {
	if age := facts.LastSaid(asOf, now); age != "" {
		_, err = fmt.Fprintln(out, age)
	}
	return err
}

// networkList is `gvlan network ls`.
func networkList() frame.List[api.NetworkView] {
	return frame.List[api.NetworkView]{
		Name: func(v api.NetworkView) string { return v.Name },
		Columns: func(time.Time) []frame.Column[api.NetworkView] {
			return []frame.Column[api.NetworkView]{
				{Head: "NETWORK", Cell: func(v api.NetworkView) string { return v.Name }},
				{Head: "SCOPE", Cell: func(v api.NetworkView) string { return v.Scope }},
				{Head: "STATE", Cell: func(v api.NetworkView) string { return api.Word(v.State) }},
				{Head: "SUBNETS", Cell: subnetsColumn},
				{Head: "HOSTS", Cell: facts.UsableHosts},
				{Head: "CONTAINERS", Cell: func(v api.NetworkView) string { return strconv.Itoa(facts.NetworkContainers(v)) }},
				{Head: "SEGMENT", Wide: true, Cell: func(v api.NetworkView) string { return v.Segment }},
				{Head: "MADE ON", Wide: true, Cell: facts.MadeOn},
				{Head: "ID", Wide: true, Cell: func(v api.NetworkView) string { return v.UUID }},
			}
		},
		Before: func(out io.Writer, views []api.NetworkView) error {
			if len(views) == 0 {
				return nil
			}
			return printAge(out, views[0].AsOf, time.Now())
		},
		After: printProblems,
		Empty: "no networks yet: gvlan network create makes one",
	}
}

// printProblems says what keeps hosts from networks they should have.
func printProblems(out io.Writer, views []api.NetworkView) error {
	for _, v := range views {
		for _, h := range v.Hosts {
			if h.Why == "" {
				continue
			}
			if _, err := fmt.Fprintf(out, "%s on %s: %s\n", v.Name, h.Called(), h.Why); err != nil {
				return err
			}
		}
	}
	return nil
}

func subnetsColumn(v api.NetworkView) string {
	var all []string
	for _, p := range v.Pools {
		all = append(all, p.Subnet.String())
	}
	return strings.Join(all, ",")
}

// printNetwork is `gvlan network inspect`.
func printNetwork(out io.Writer, v api.NetworkView, now time.Time, wide bool) error {
	terminal.InCells(&v)
	if err := printAge(out, v.AsOf, now); err != nil {
		return err
	}
	table := terminal.Table{Plain: true, Rows: [][]string{
		{"network", fmt.Sprintf("%s (%s)", v.Name, v.UUID)},
		{"state", fmt.Sprintf("%s, scope %s, made on %s", api.Word(v.State), v.Scope, facts.MadeOn(v))},
	}}
	for _, p := range v.Pools {
		table.Rows = append(table.Rows, []string{"subnet", facts.Subnet(p)})
	}
	for _, line := range facts.Options(v) {
		table.Rows = append(table.Rows, []string{"option", line})
	}
	for _, line := range facts.Changed(v) {
		table.Rows = append(table.Rows, []string{"changed", line})
	}
	if v.Reserved > 0 {
		table.Rows = append(table.Rows, []string{"reserved", fmt.Sprintf("%d by operators (gvlan lease ls --network %s)", v.Reserved, v.Name)})
	}
	for _, about := range []struct {
		head string
		said func(api.NetworkHost) string
	}{
		{"host access", func(h api.NetworkHost) string { return h.HostAccess }},
		{"routes between", func(h api.NetworkHost) string { return h.HostRoutes }},
		{"no routes to", func(h api.NetworkHost) string { return h.Unrouted }},
	} {
		for _, line := range facts.Said(v, about.said) {
			table.Rows = append(table.Rows, []string{about.head, line})
		}
	}
	if err := table.Print(out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := printNetworkHosts(out, v, wide); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return printEndpoints(out, v, wide)
}

// printNetworkHosts says how the network fares on each host.
func printNetworkHosts(out io.Writer, v api.NetworkView, wide bool) error {
	terminal.InCells(&v)
	table := terminal.Table{Heads: []string{"NODE", "AGENT", "NETWORK", "PARENT NOW", "LINKS", "WHY"}}
	for _, h := range v.Hosts {
		agent := "away"
		if h.Connected {
			agent = "connected"
		}
		table.Rows = append(table.Rows, []string{h.Called(), agent, api.Word(h.State), h.Parent, strings.Join(h.Links, ","), h.Why})
	}
	if wide {
		table.Heads = append(table.Heads, "NODE ID", "ENGINE'S ID")
		for i, h := range v.Hosts {
			table.Rows[i] = append(table.Rows[i], h.Node, h.Engine)
		}
	}
	return table.Print(out)
}

// printEndpoints lists the containers on it.
func printEndpoints(out io.Writer, v api.NetworkView, wide bool) error {
	table := terminal.Table{Heads: []string{"CONTAINER", "NODE", "ADDRESSES", "MAC"}}
	if wide {
		table.Heads = append(table.Heads, "PARENT")
	}
	for _, h := range v.Hosts {
		for _, e := range h.Endpoints {
			addresses := slices.DeleteFunc(append([]string{e.IPv4, e.IPv6}, e.Fixed...), func(a string) bool { return a == "" })
			for _, addr := range e.Waits {
				addresses = append(addresses, "waits for "+addr)
			}
			row := []string{e.Container, h.Called(), strings.Join(addresses, ","), e.MAC}
			if wide {
				row = append(row, e.Parent)
			}
			table.Rows = append(table.Rows, row)
		}
	}
	return table.Print(out)
}
