// Package nodes is `gvlan node`, `gvlan members` and `gvlan key`.
package nodes

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/evict"
)

// New is `gvlan node`.
func New() *cobra.Command {
	return frame.Group("node", "Look at the hosts of the cluster and act on them", newNodeList(), newNodeInspect(), newNodeDrain(), newNodeEvict())
}

func newNodeList() *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Short: "List the hosts: state and for how long, address, containers, parents", Args: cobra.NoArgs,
		Long: "A host that runs the agent and the swarm's plugin is one row.\n\n" +
			"ready         connected to etcd, and answers its peers\n" +
			"unreachable   connected, but no peer gets an answer (UDP and TCP 7947)\n" +
			"without etcd  answers its peers, but has lost etcd: what runs there goes on\n" +
			"down          neither; its containers may run on all the same\n" +
			"evicted       an operator took its addresses, or it left",
		Example: `  gvlan node ls
  gvlan node ls --wide
  gvlan node ls -q`,
	}
	return frame.Listing(c, frame.At[[]api.NodeView](api.NodesRoute), nodeList())
}

func newNodeInspect() *cobra.Command {
	var wide bool
	c := &cobra.Command{
		Use: "inspect NODE", Short: "Show a host: its interfaces and who uses them, and how each network fares there", Args: cobra.ExactArgs(1),
		Long: "NODE is the host's name, or the id of a node where several hosts have one name.",
		Example: `  gvlan node inspect h2
  gvlan node inspect --wide h2
  gvlan node inspect --json h2`,
	}
	called := func(c *cobra.Command, client *api.Client, args []string) (view api.NodeView, err error) {
		var views []api.NodeView
		if err := client.Get(c.Context(), api.NodesRoute, &views); err != nil {
			return view, err
		}
		return facts.HostCalled(views, args[0])
	}
	frame.Showing(c, called, frame.Aged(func(out io.Writer, view api.NodeView, now time.Time) error {
		return printNode(out, view, now, wide)
	}))
	c.Flags().BoolVar(&wide, "wide", false, "print more columns")
	return frame.Completes(c, frame.Nodes)
}

func newNodeDrain() *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use: "drain NODE", Short: "Give a host no new containers; what runs there stays", Args: cobra.ExactArgs(1),
		Long: "New containers are refused there, of plain Docker and of the swarm, until it is undone; a member of the store\n" +
			"that it runs is handed to another host.",
		Example: `  gvlan node drain h2
  gvlan node drain --undo h2`,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			route := api.Named(api.DrainRoute, args[0])
			if undo {
				route += "&undo"
			}
			_, err := frame.Answered(c, func() (struct{}, error) {
				return struct{}{}, client.Ask(c.Context(), http.MethodPost, route, &struct{}{})
			})
			return err
		}),
	}
	c.Flags().BoolVar(&undo, "undo", false, "take the mark away")
	config.AddAgentFlags(c.Flags())
	return frame.Completes(c, frame.Nodes)
}

func newNodeEvict() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "evict NODE",
		Short: "Take a dead host out of the cluster and put its addresses into quarantine",
		Long: "Asks the LAN whether its containers' addresses still answer, fences the node, waits until its agent must\n" +
			"have noticed, then frees what it held. Only for a host that will not come back as it was. Its addresses rest\n" +
			"for ten minutes, and after that until nobody on the LAN answers for them. Where one of a host's two agents is\n" +
			"gone and the other connected, the one that is gone is evicted.",
		Example: `  gvlan node evict h3
  gvlan node evict --force h3`,
		Args: cobra.ExactArgs(1),
	}
	ask := func(c *cobra.Command, client *api.Client, args []string) (taken evict.Taken, err error) {
		route := api.Named(api.EvictRoute, args[0])
		if force {
			route += "&force"
		}
		waiting := frame.Waiting(c, fmt.Sprintf("the LAN to say whether addresses of %s answer, and then %s for its agent, if it runs anywhere, to notice", args[0], terminal.Span(evict.DefaultWait)))
		defer waiting.End()
		err = client.Ask(c.Context(), http.MethodPost, route, &taken)
		return taken, err
	}
	frame.Showing(c, ask, func(c *cobra.Command, _ *api.Client, taken evict.Taken) error {
		if taken.Unasked > 0 {
			fmt.Fprintf(c.ErrOrStderr(), "whether %d of its addresses still answer could not be asked from this host, which has no parent for their networks\n", taken.Unasked)
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "%s is evicted: %d addresses in quarantine, %d endpoints gone\n", c.Flags().Arg(0), taken.Leases, taken.Endpoints)
		return err
	})
	c.Flags().BoolVar(&force, "force", false, "also when its agent is connected, or its addresses answer on the LAN")
	return frame.Completes(c, frame.Nodes)
}

// NewMembers is `gvlan members`.
func NewMembers() *cobra.Command {
	c := &cobra.Command{
		Use: "members", Short: "Show the gossip's own view beside etcd's: a fault that goes one way shows here", Args: cobra.NoArgs,
		Long: "What this host's agent itself sees of every other: whether it answers, and for how long that is so, beside\n" +
			"what etcd says.",
		Example: `  gvlan members
  gvlan members --wide
  gvlan members --format '{{.Name}} {{.Gossip}} {{.RTT}}'`,
	}
	return frame.Listing(c, frame.At[[]api.MemberView](api.MembersRoute), memberList())
}

func memberList() frame.List[api.MemberView] {
	return frame.List[api.MemberView]{
		Name: func(v api.MemberView) string { return v.Name },
		Columns: func(now time.Time) []frame.Column[api.MemberView] {
			return []frame.Column[api.MemberView]{
				{Head: "NODE", Cell: func(v api.MemberView) string { return v.Name }},
				{Head: "GOSSIP ADDRESS", Cell: func(v api.MemberView) string { return v.Address }},
				{Head: "GOSSIP", Cell: func(v api.MemberView) string { return api.Word(v.Gossip) }},
				{Head: "FOR", Cell: func(v api.MemberView) string { return terminal.Since(v.Since, now) }},
				{Head: "ETCD", Cell: func(v api.MemberView) string { return v.Etcd }},
				{Head: "REMARKS", Cell: func(v api.MemberView) string { return strings.Join(v.Remarks, ", ") }},
				{Head: "ANSWERED", Wide: true, Cell: func(v api.MemberView) string { return terminal.Since(v.Direct, now) }},
				{Head: "RTT", Wide: true, Cell: roundTrip},
				{Head: "APPLIED", Wide: true, Cell: func(v api.MemberView) string { return fmt.Sprint(v.Applied) }},
				{Head: "NODE ID", Wide: true, Cell: func(v api.MemberView) string { return v.Node }},
			}
		},
		Empty: "no nodes are known yet",
	}
}

// roundTrip is how long the member took to answer; "" when it never did.
func roundTrip(v api.MemberView) string {
	if v.RTT == 0 {
		return ""
	}
	return v.RTT.Round(time.Microsecond).String()
}

// NewKey is `gvlan key`.
func NewKey() *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate", Short: "Replace the gossip's encryption key while it goes on", Args: cobra.NoArgs,
		Long:    "Every connected node takes up the new key before the old one counts no more.",
		Example: "  gvlan key rotate",
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, _ []string) error {
			waiting := frame.Waiting(c, "every connected node to take up the new key")
			err := client.Ask(c.Context(), http.MethodPost, api.RotateRoute, &struct{}{})
			waiting.End()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "every connected node uses the new key")
			return err
		}),
	}
	config.AddAgentFlags(rotate.Flags())
	return frame.Group("key", "Manage the key that members encrypt with", rotate)
}
