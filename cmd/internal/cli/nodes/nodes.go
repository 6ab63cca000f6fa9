package nodes

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/evict"
)

// New is `gvlan node`.
func New() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Look at the nodes of the cluster and act on them"}
	c.AddCommand(newNodeList(), newNodeInspect(), newNodeDrain(), newNodeEvict())
	return c
}

func newNodeList() *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the nodes: state, address, version, networks, endpoints, for how long", Args: cobra.NoArgs}
	return frame.Showing(c, frame.At[[]api.NodeView](api.NodesRoute), frame.Aged(printNodes))
}

func newNodeInspect() *cobra.Command {
	c := &cobra.Command{
		Use: "inspect NODE", Short: "Show a host by its name or node: its interfaces and who uses them, and how each network fares there", Args: cobra.ExactArgs(1),
	}
	called := func(c *cobra.Command, client *api.Client, args []string) (view api.NodeView, err error) {
		var views []api.NodeView
		if err := client.Get(c.Context(), api.NodesRoute, &views); err != nil {
			return view, err
		}
		return viewCalled(views, args[0])
	}
	return frame.Showing(c, called, frame.Aged(printNode))
}

func newNodeDrain() *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use: "drain NODE", Short: "Give a node no new addresses; what runs there stays", Args: cobra.ExactArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			route := api.Named(api.DrainRoute, args[0])
			if undo {
				route += "&undo"
			}
			return client.Ask(c.Context(), http.MethodPost, route, &struct{}{})
		}),
	}
	c.Flags().BoolVar(&undo, "undo", false, "take the mark away")
	config.AddAgentFlags(c.Flags())
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
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			route := api.Named(api.EvictRoute, args[0])
			if force {
				route += "&force"
			}
			fmt.Fprintf(c.ErrOrStderr(), "evicting %s: asking the LAN for its addresses, then waiting %s for its agent, if it still runs anywhere, to notice\n", args[0], evict.DefaultWait)
			var taken evict.Taken
			if err := client.Ask(c.Context(), http.MethodPost, route, &taken); err != nil {
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
	config.AddAgentFlags(c.Flags())
	return c
}

// NewMembers is `gvlan members`.
func NewMembers() *cobra.Command {
	c := &cobra.Command{Use: "members", Short: "Show the gossip's own view beside etcd's: a fault that goes one way shows here", Args: cobra.NoArgs}
	return frame.Showing(c, frame.At[[]api.MemberView](api.MembersRoute), frame.Aged(printMembers))
}

func printMembers(out io.Writer, views []api.MemberView, now time.Time) error {
	terminal.InCells(&views)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NODE\tGOSSIP ADDRESS\tGOSSIP\tFOR\tANSWERED\tRTT\tETCD\tAPPLIED\tREMARKS")
	for _, v := range views {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", v.Name, terminal.OrDash(v.Address), terminal.OrDash(v.Gossip), terminal.OrDash(terminal.Since(v.Since, now)), terminal.OrDash(terminal.Since(v.Direct, now)), v.RTT.Round(time.Microsecond), v.Etcd, v.Applied, terminal.OrDash(strings.Join(v.Remarks, ", ")))
	}
	return table.Flush()
}

// NewKey is `gvlan key`.
func NewKey() *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Replace the gossip's encryption key while it goes on", Args: cobra.NoArgs,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, _ []string) error {
			if err := client.Ask(c.Context(), http.MethodPost, api.RotateRoute, &struct{}{}); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "every connected node uses the new key")
			return err
		}),
	}
	config.AddAgentFlags(rotate.Flags())
	c := &cobra.Command{Use: "key", Short: "Manage the key that members encrypt with"}
	c.AddCommand(rotate)
	return c
}
