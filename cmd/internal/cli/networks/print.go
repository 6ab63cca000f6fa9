package networks

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/terminal"
)

// ageLine warns of views that are not of now; "" for those that are.
func ageLine(asOf, now time.Time) string {
	if asOf.IsZero() {
		return ""
	}
	return fmt.Sprintf("etcd does not answer this host: this is what it said %s ago\n", terminal.Since(asOf, now))
}

// printNetworkViews is `gvlan network ls`.
func printNetworkViews(out io.Writer, views []api.NetworkView, now time.Time) error {
	terminal.InCells(&views)
	if len(views) > 0 {
		fmt.Fprint(out, ageLine(views[0].AsOf, now))
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NETWORK\tSCOPE\tSTATE\tSUBNETS\tHOSTS\tENDPOINTS\tOUT OF STEP")
	for _, v := range views {
		endpoints := 0
		var wrong []string
		for _, h := range v.Hosts {
			endpoints += len(h.Endpoints)
			if h.Why != "" {
				wrong = append(wrong, h.Host+": "+h.Why)
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", v.Name, v.Scope, v.State, subnetsColumn(v), hostsColumn(v), endpoints, terminal.OrDash(strings.Join(wrong, "; ")))
	}
	return table.Flush()
}

// hostsColumn counts the hosts on which a container could start, of those that
// should have the network. The swarm makes its networks only where a task
// runs: any number is right.
func hostsColumn(v api.NetworkView) string {
	if v.Scope == string(store.ScopeSwarm) {
		return strconv.Itoa(v.Usable())
	}
	return fmt.Sprintf("%d/%d", v.Usable(), len(v.Hosts))
}

func subnetsColumn(v api.NetworkView) string {
	var all []string
	for _, p := range v.Pools {
		all = append(all, p.Subnet.String())
	}
	return strings.Join(all, ",")
}

// printNetwork is `gvlan network inspect`.
func printNetwork(out io.Writer, v api.NetworkView, now time.Time) error {
	terminal.InCells(&v)
	fmt.Fprint(out, ageLine(v.AsOf, now))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "network\t%s (%s)\n", v.Name, v.UUID)
	fmt.Fprintf(table, "state\t%s, scope %s, made on %s\n", v.State, v.Scope, madeOn(v))
	for _, p := range v.Pools {
		fmt.Fprintf(table, "subnet\t%s\n", poolLine(p))
	}
	for _, k := range slices.Sorted(maps.Keys(v.Options)) {
		fmt.Fprintf(table, "option\t%s=%s\n", k, v.Options[k])
	}
	for _, line := range overrideLines(v) {
		fmt.Fprintf(table, "changed\t%s\n", line)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := printNetworkHosts(out, v); err != nil {
		return err
	}
	return printEndpoints(out, v)
}

func poolLine(p store.Pool) string {
	line := p.Subnet.String()
	if p.Range.IsValid() {
		line += ", addresses from " + p.Range.String()
	}
	if p.Gateway.IsValid() {
		return line + ", gateway " + p.Gateway.String()
	}
	return line + ", no gateway"
}

// madeOn is what people call the node a network was made on.
func madeOn(v api.NetworkView) string {
	var names []api.NodeName
	for _, h := range v.Hosts {
		names = append(names, api.NodeName{Node: h.Node, Host: h.Host})
	}
	return api.CallNodes(names)(v.Origin)
}

// overrideLines are what `network set` changed, as it is typed.
func overrideLines(v api.NetworkView) []string {
	var lines []string
	if v.Overrides.Parent != nil {
		lines = append(lines, "parent="+*v.Overrides.Parent)
	}
	if len(v.Overrides.Exclude) > 0 {
		lines = append(lines, "exclude="+strings.Join(v.Overrides.Exclude, ","))
	}
	for _, r := range v.Overrides.Ranges {
		lines = append(lines, "range+="+r.String())
	}
	if v.Overrides.Cooldown != "" {
		lines = append(lines, "cooldown="+v.Overrides.Cooldown)
	}
	return lines
}

// printNetworkHosts says how the network fares on each host.
func printNetworkHosts(out io.Writer, v api.NetworkView) error {
	terminal.InCells(&v)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "HOST\tNODE\tAGENT\tNETWORK\tPARENT NOW\tLINKS\tWHY")
	for _, h := range v.Hosts {
		agent := "away"
		if h.Connected {
			agent = "connected"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.Host, h.Node, agent, h.State, terminal.OrDash(h.Parent), terminal.OrDash(strings.Join(h.Links, ",")), terminal.OrDash(h.Why))
	}
	return table.Flush()
}

func printEndpoints(out io.Writer, v api.NetworkView) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\nCONTAINER\tHOST\tIPV4\tIPV6\tMAC\tPARENT")
	for _, h := range v.Hosts {
		for _, e := range h.Endpoints {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", terminal.OrDash(e.Container), h.Host, terminal.OrDash(e.IPv4), terminal.OrDash(e.IPv6), terminal.OrDash(e.MAC), terminal.OrDash(e.Parent))
		}
	}
	return table.Flush()
}
