package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/ipam/evict"
)

// newNodeCommand is `gvlan node`.
func newNodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Look at the nodes of the cluster and act on them"}
	c.AddCommand(newNodeList(), newNodeInspect(), newNodeDrain(), newNodeEvict())
	return c
}

func newNodeList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List the nodes: state, address, version, networks, endpoints, for how long", Args: cobra.NoArgs,
		RunE: withAgent(func(c *cobra.Command, client *statusClient, _ []string) error {
			var views []NodeView
			if err := client.get(c.Context(), nodesRoute, &views); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), views)
			}
			return printNodes(c.OutOrStdout(), views, time.Now())
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addAgentFlags(c.Flags())
	return c
}

func printNodes(out io.Writer, views []NodeView, now time.Time) error {
	inCells(&views)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NODE\tHOST\tSTATE\tFOR\tADDRESS\tVERSION\tNETWORKS\tENDPOINTS\tPARENTS\tAGENTS")
	for _, v := range views {
		since := func(v NodeView) string { return age(v.Since, now) }
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", v.Node, orDash(v.Host), eachAgent(v, stateOf), since(worseOf(v)),
			orDash(eachAgent(v, func(v NodeView) string { return v.Address })), orDash(eachAgent(v, func(v NodeView) string { return v.Version })),
			len(networksOf(v)), endpointsOf(v), orDash(strings.Join(parentsOf(v), ",")), kindsOf(v))
	}
	if err := table.Flush(); err != nil || !slices.ContainsFunc(views, func(v NodeView) bool { return v.Stale }) {
		return err
	}
	_, err := fmt.Fprintln(out, "\netcd does not answer this host: which nodes are connected to it is what it said last")
	return err
}

// stateOf adds what an operator did to the node.
func stateOf(v NodeView) string {
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

func age(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return now.Sub(since).Round(time.Second).String()
}

func newNodeInspect() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "inspect NODE", Short: "Show a host by its name or node: its interfaces and who uses them, and how each network fares there", Args: cobra.ExactArgs(1),
		RunE: withAgent(func(c *cobra.Command, client *statusClient, args []string) error {
			var views []NodeView
			if err := client.get(c.Context(), nodesRoute, &views); err != nil {
				return err
			}
			v, err := viewCalled(views, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), v)
			}
			return printNode(c.OutOrStdout(), v, time.Now())
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addAgentFlags(c.Flags())
	return c
}

// printNode is `gvlan node inspect`.
func printNode(out io.Writer, v NodeView, now time.Time) error {
	inCells(&v)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, a := range agentsOf(v) {
		if i > 0 {
			fmt.Fprintln(table)
		}
		fmt.Fprintf(table, "node\t%s (host %s, address %s)\n", a.Node, a.Host, a.Address)
		fmt.Fprintf(table, "state\t%s for %s\n", stateOf(a), age(a.Since, now))
		fmt.Fprintf(table, "agent\t%s, gvlan %s, epoch %d\n", kindOf(a), a.Version, a.Epoch)
	}
	fmt.Fprintln(table, "\nINTERFACE\tKIND\tSTATE\tMTU\tADDRESSES\tOF\tVLAN\tUSED BY")
	for _, i := range interfacesOf(v) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", i.Name, i.Kind, upDown(i.Up), i.MTU, orDash(strings.Join(i.Addresses, ",")),
			orDash(i.Master+i.Parent), vlanText(i), orDash(strings.Join(i.UsedBy, ",")))
	}
	fmt.Fprintln(table, "\nNETWORK\tSTATE\tPARENT NOW\tLINKS\tWHY")
	for _, n := range networksOf(v) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.State, orDash(n.Parent), orDash(strings.Join(n.Links, ",")), orDash(n.Why))
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

func newNodeDrain() *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use: "drain NODE", Short: "Give a node no new addresses; what runs there stays", Args: cobra.ExactArgs(1),
		RunE: withAgent(func(c *cobra.Command, client *statusClient, args []string) error {
			route := named(drainRoute, args[0])
			if undo {
				route += "&undo"
			}
			return client.ask(c.Context(), http.MethodPost, route, &struct{}{})
		}),
	}
	c.Flags().BoolVar(&undo, "undo", false, "take the mark away")
	addAgentFlags(c.Flags())
	return c
}

func newNodeEvict() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "evict NODE",
		Short: "Take a dead node out of the cluster and put its addresses into quarantine",
		Long: "Asks the LAN whether its containers' addresses still answer, fences the node, waits until its agent must\n" +
			"have noticed, then frees what it held. Only for a host that will not come back as it was.",
		Args: cobra.ExactArgs(1),
		RunE: withAgent(func(c *cobra.Command, client *statusClient, args []string) error {
			route := named(evictRoute, args[0])
			if force {
				route += "&force"
			}
			fmt.Fprintf(c.ErrOrStderr(), "evicting %s: asking the LAN for its addresses, then waiting %s for its agent, if it still runs anywhere, to notice\n", args[0], evict.DefaultWait)
			var taken evict.Taken
			if err := client.ask(c.Context(), http.MethodPost, route, &taken); err != nil {
				return err
			}
			if taken.Unasked > 0 {
				fmt.Fprintf(c.ErrOrStderr(), "whether %d of its addresses still answer could not be asked from this host, which has no parent for their networks\n", taken.Unasked)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s is evicted: %d addresses in quarantine, %d endpoints gone\n", args[0], taken.Leases, taken.Endpoints)
			return err
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "also when its agent is connected, or its addresses answer on the LAN")
	addAgentFlags(c.Flags())
	return c
}

// newMembersCommand is `gvlan members`.
func newMembersCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "members", Short: "Show the gossip's own view beside etcd's: a fault that goes one way shows here", Args: cobra.NoArgs,
		RunE: withAgent(func(c *cobra.Command, client *statusClient, _ []string) error {
			var views []MemberView
			if err := client.get(c.Context(), membersRoute, &views); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), views)
			}
			inCells(&views)
			now := time.Now()
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "NODE\tGOSSIP ADDRESS\tGOSSIP\tFOR\tANSWERED\tRTT\tETCD\tAPPLIED\tREMARKS")
			for _, v := range views {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", v.Name, orDash(v.Address), orDash(v.Gossip), age(v.Since, now), age(v.Direct, now), v.RTT.Round(time.Microsecond), v.Etcd, v.Applied, orDash(strings.Join(v.Remarks, ", ")))
			}
			return table.Flush()
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addAgentFlags(c.Flags())
	return c
}

// newKeyCommand is `gvlan key`.
func newKeyCommand() *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Replace the gossip's encryption key while it goes on", Args: cobra.NoArgs,
		RunE: withAgent(func(c *cobra.Command, client *statusClient, _ []string) error {
			if err := client.ask(c.Context(), http.MethodPost, rotateRoute, &struct{}{}); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "every connected node uses the new key")
			return err
		}),
	}
	addAgentFlags(rotate.Flags())
	c := &cobra.Command{Use: "key", Short: "Manage the key that members encrypt with"}
	c.AddCommand(rotate)
	return c
}
