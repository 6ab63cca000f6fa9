// Package networks is `gvlan network`.
package networks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
	"gvlan/driver/command"
	"gvlan/driver/engine"
	"gvlan/driver/network"
	"gvlan/driver/option"
)

// New is `gvlan network`.
func New() *cobra.Command {
	return frame.Group("network", "Manage networks of the whole cluster",
		newNetworkCreate(), newNetworkList(), newNetworkInspect(), newNetworkRemove(), newNetworkSet(), newNetworkImport())
}

// networkWait bounds how long create and rm wait for every host.
const networkWait = 30 * time.Second

func newNetworkCreate() *cobra.Command {
	var f networkFlags
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a network on every host, and say how it went on each",
		Long: "Takes the flags of `docker network create` and does the same, but waits for every connected host, prints\n" +
			"warnings, and tells how every host fares.\n\n" +
			"Options of -o:\n" + option.Lines(option.Network()) + "\n\n" +
			"Options of --ipam-opt:\n" + option.Lines(option.IPAM()),
		Example: `  gvlan network create --subnet 192.168.1.0/24 --gateway 192.168.1.1 --ip-range 192.168.1.128/25 -o parent=eth0 lan
  gvlan network create --subnet 10.65.0.0/16 -o parent="bond0, eth0" --ipam-opt cooldown=5m rack
  gvlan network create --subnet 172.30.0.0/24 -o scope=local -o parent=eth0 here`,
		Args: cobra.ExactArgs(1),
	}
	ask := func(c *cobra.Command, client *api.Client, args []string) (api.NetworkView, error) {
		request, err := f.request(args[0])
		if err != nil {
			return api.NetworkView{}, frame.Misuse(err)
		}
		waiting := frame.Waiting(c, "this host to make "+args[0])
		view, warnings, err := made(c.Context(), client, request, waiting)
		waiting.End()
		terminal.InCells(&warnings)
		for _, w := range warnings {
			fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
		}
		return view, err
	}
	frame.Showing(c, ask, func(c *cobra.Command, _ *api.Client, view api.NetworkView) error {
		return printNetworkHosts(c.OutOrStdout(), view, false)
	})
	f.register(c)
	return c
}

// made has a network made, and waits until every connected host has it or says
// why not.
func made(ctx context.Context, client *api.Client, request engine.NetworkRequest, waiting *frame.Wait) (view api.NetworkView, warnings []string, err error) {
	var defined command.Defined
	if err := client.Send(ctx, http.MethodPost, api.NetworksRoute, request, &defined); err != nil {
		return view, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	for looks := 0; ; looks++ {
		err := client.Get(ctx, api.Named(api.NetworkRoute, request.Name), &view)
		if err != nil && defined.Local && store.Sleep(ctx, lookAgain(looks)) {
			waiting.For("this host to tell of " + request.Name)
			continue // what one host has is known once its node's record says so
		}
		if err != nil {
			return view, defined.Warnings, err
		}
		waiting.For(strings.Join(unsettled(view), ", ") + " to make " + request.Name)
		if view.Settled() || !store.Sleep(ctx, lookAgain(looks)) {
			return view, defined.Warnings, nil
		}
	}
}

// lookAgain is the pause after so many looks at a network before: a look reads from
// the store what every host has, which for a host that takes long is not done ten
// times a second.
func lookAgain(looks int) time.Duration {
	return min(100*time.Millisecond<<min(looks, 8), 2*time.Second)
}

// unsettled are the hosts that have not answered yet.
func unsettled(view api.NetworkView) (hosts []string) {
	for _, h := range view.Hosts {
		if h.Unsettled() {
			hosts = append(hosts, h.Called())
		}
	}
	return hosts
}

func newNetworkList() *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Short: "List the networks of the whole cluster, and those of one host", Args: cobra.NoArgs,
		Long: "HOSTS counts those on which a container could start now, of those whose agent serves such networks; swarm\n" +
			"makes its networks only where a task runs. What keeps a host from it is said below the table.",
		Example: `  gvlan network ls
  gvlan network ls --wide
  gvlan network ls --format 'table {{.Name}}\t{{.Scope}}\t{{.Segment}}'`,
	}
	return frame.Listing(c, frame.At[[]api.NetworkView](api.NetworksRoute), networkList())
}

func newNetworkInspect() *cobra.Command {
	var wide bool
	c := &cobra.Command{
		Use: "inspect NAME", Short: "Show a network on every host: its parent now, links, containers", Args: cobra.ExactArgs(1),
		Example: `  gvlan network inspect lan
  gvlan network inspect --wide lan
  gvlan network inspect --json lan`,
	}
	named := func(c *cobra.Command, client *api.Client, args []string) (view api.NetworkView, err error) {
		err = client.Get(c.Context(), api.Named(api.NetworkRoute, args[0]), &view)
		return view, err
	}
	frame.Showing(c, named, frame.Aged(func(out io.Writer, view api.NetworkView, now time.Time) error {
		return printNetwork(out, view, now, wide)
	}))
	c.Flags().BoolVar(&wide, "wide", false, "print more columns, as ids")
	return frame.Completes(c, frame.Networks)
}

func newNetworkRemove() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "rm NAME", Short: "Remove a network from every host", Args: cobra.ExactArgs(1),
		Long: "Refused while containers, running or stopped, use it on any host: it names them. Prints the name once the\n" +
			"network is gone everywhere.",
		Example: `  gvlan network rm lan
  gvlan network rm --force lan`,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			route := api.Named(api.NetworkRoute, args[0])
			if force {
				route += "&force"
			}
			waiting := frame.Waiting(c, "every host to remove "+args[0])
			err := client.Ask(c.Context(), http.MethodDelete, route, &struct{}{})
			if err == nil {
				err = removed(c.Context(), client, args[0])
			}
			waiting.End()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), args[0])
			return err
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "disconnect the containers that use it")
	config.AddAgentFlags(c.Flags())
	return frame.Completes(c, frame.Networks)
}

// removed asks until the definition is gone, or came back.
func removed(ctx context.Context, client *api.Client, name string) error {
	ctx, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	for looks := 0; ; looks++ {
		var views []api.NetworkView
		if err := client.Get(ctx, api.NetworksRoute, &views); err != nil {
			return err
		}
		view, there := defined(views, name)
		switch {
		case !there:
			return nil
		case view.State == string(store.NetworkActive) && view.AsOf.IsZero():
			return fmt.Errorf("network %s stays: a container refers to it after all (gvlan network inspect %s)", name, name)
		}
		if !store.Sleep(ctx, lookAgain(looks)) {
			return errors.New("not every host has answered yet: the removal goes on in the background")
		}
	}
}

// defined is the network of the cluster with that name: a host may have one of its
// own that is called so as well.
func defined(views []api.NetworkView, name string) (api.NetworkView, bool) {
	for _, v := range views {
		if v.Name == name && v.Scope != string(option.ScopeLocal) {
			return v, true
		}
	}
	return api.NetworkView{}, false
}

func newNetworkSet() *cobra.Command {
	c := &cobra.Command{
		Use:   "set NAME KEY=VALUE...",
		Short: "Change a living network on every host: parent=, exclude=, range+=, cooldown=, host-access=",
		Long: option.Lines(option.Changes()) + "\n\n" +
			"Running containers stay as they are, and Docker goes on showing what the network was made with.",
		Example: `  gvlan network set lan exclude+=192.168.1.200-192.168.1.210
  gvlan network set lan parent="eth1, eth0" cooldown=30s
  gvlan network set lan range+=192.168.1.64/26`,
		Args: cobra.MinimumNArgs(2),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			for _, change := range args[1:] {
				if err := option.CheckChange(change); err != nil {
					return frame.Misuse(err)
				}
			}
			_, err := frame.Answered(c, func() (struct{}, error) {
				return struct{}{}, client.Send(c.Context(), http.MethodPatch, api.Named(api.NetworkRoute, args[0]), api.NetworkChange{Changes: args[1:]}, &struct{}{})
			})
			return err
		}),
	}
	config.AddAgentFlags(c.Flags())
	frame.Completes(c, frame.Networks)
	name := c.ValidArgsFunction
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return name(c, args, begun)
		}
		return completeOption(c, option.Changes(), begun)
	}
	return c
}

func newNetworkImport() *cobra.Command {
	c := &cobra.Command{
		Use:   "import NAME",
		Short: "Turn a built-in macvlan or ipvlan network of this host into one of the cluster",
		Long: "Defines the network for the cluster, holds its containers' addresses for them, and prints the commands that\n" +
			"move them over, with their aliases and MACs. What Docker does not tell (a MAC on a network that is not the\n" +
			"container's first) it says.",
		Example: `  gvlan network import old
  gvlan network import old > move.sh`,
		Args: cobra.ExactArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			waiting := frame.Waiting(c, "this host to define "+args[0])
			var imported network.Imported
			err := client.Ask(c.Context(), http.MethodPost, api.Named(api.ImportRoute, args[0]), &imported)
			waiting.End()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), strings.Join(imported.Steps(), "\n"))
			return err
		}),
	}
	config.AddAgentFlags(c.Flags())
	return frame.Completes(c, importable)
}

// importable are the networks of this host that can be imported.
func importable(ctx context.Context, client *api.Client) (names []cobra.Completion, err error) {
	err = client.Get(ctx, api.ImportRoute, &names)
	return names, err
}
