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
	"gvlan/driver/network"
)

// New is `gvlan network`.
func New() *cobra.Command {
	c := &cobra.Command{Use: "network", Short: "Manage networks of the whole cluster"}
	c.AddCommand(newNetworkCreate(), newNetworkList(), newNetworkInspect(), newNetworkRemove(), newNetworkSet(), newNetworkImport())
	return c
}

// networkWait bounds how long create and rm wait for every host.
const networkWait = 30 * time.Second

func newNetworkCreate() *cobra.Command {
	var f networkFlags
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a network on every host, and say how it went on each",
		Long:  "Takes the flags of `docker network create` and does the same, but waits for every connected host.",
		Args:  cobra.ExactArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			request, err := f.request(args[0])
			if err != nil {
				return err
			}
			var made command.Defined
			if err := client.Send(c.Context(), http.MethodPost, api.NetworksRoute, request, &made); err != nil {
				return err
			}
			terminal.InCells(&made.Warnings)
			for _, w := range made.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			view, err := waitNetwork(c.Context(), client, args[0])
			if err != nil {
				return err
			}
			return printNetworkHosts(c.OutOrStdout(), view)
		}),
	}
	f.register(c.Flags())
	config.AddAgentFlags(c.Flags())
	return c
}

// waitNetwork asks until every connected host has the network or says why
// not.
func waitNetwork(ctx context.Context, client *api.Client, name string) (api.NetworkView, error) {
	ctx, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	for {
		var view api.NetworkView
		if err := client.Get(ctx, api.Named(api.NetworkRoute, name), &view); err != nil {
			return view, err
		}
		if view.Settled() || !store.Sleep(ctx, 100*time.Millisecond) {
			return view, nil
		}
	}
}

func newNetworkList() *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the networks of the whole cluster", Args: cobra.NoArgs}
	return frame.Showing(c, frame.At[[]api.NetworkView](api.NetworksRoute), frame.Aged(printNetworkViews))
}

func newNetworkInspect() *cobra.Command {
	c := &cobra.Command{Use: "inspect NAME", Short: "Show a network on every host: its parent now, links, endpoints", Args: cobra.ExactArgs(1)}
	named := func(c *cobra.Command, client *api.Client, args []string) (view api.NetworkView, err error) {
		err = client.Get(c.Context(), api.Named(api.NetworkRoute, args[0]), &view)
		return view, err
	}
	return frame.Showing(c, named, frame.Aged(printNetwork))
}

func newNetworkRemove() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "rm NAME", Short: "Remove a network from every host", Args: cobra.ExactArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			route := api.Named(api.NetworkRoute, args[0])
			if force {
				route += "&force"
			}
			if err := client.Ask(c.Context(), http.MethodDelete, route, &struct{}{}); err != nil {
				return err
			}
			return waitRemoved(c.Context(), client, args[0], c.OutOrStdout())
		}),
	}
	c.Flags().BoolVar(&force, "force", false, "disconnect the containers that use it")
	config.AddAgentFlags(c.Flags())
	return c
}

// waitRemoved asks until the definition is gone, or came back.
func waitRemoved(ctx context.Context, client *api.Client, name string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	for {
		var views []api.NetworkView
		if err := client.Get(ctx, api.NetworksRoute, &views); err != nil {
			return err
		}
		view, there := find(views, name)
		switch {
		case !there:
			_, err := fmt.Fprintln(out, name)
			return err
		case view.State == "active" && view.AsOf.IsZero():
			return fmt.Errorf("network %s stays: a container refers to it after all (gvlan network inspect %s)", name, name)
		}
		if !store.Sleep(ctx, 100*time.Millisecond) {
			return errors.New("not every host has answered yet: the removal goes on in the background")
		}
	}
}

func find(views []api.NetworkView, name string) (api.NetworkView, bool) {
	for _, v := range views {
		if v.Name == name {
			return v, true
		}
	}
	return api.NetworkView{}, false
}

func newNetworkSet() *cobra.Command {
	c := &cobra.Command{
		Use:   "set NAME KEY=VALUE...",
		Short: "Change a living network on every host: parent=, exclude=, range+=, cooldown=",
		Long: "parent=LIST          new containers hang from this list; running ones stay\n" +
			"exclude=ITEM,...     addresses, ranges a-b or prefixes that are never given (also exclude+= and exclude-=)\n" +
			"range+=CIDR          addresses are given from this part of a subnet too (range-= takes it back)\n" +
			"cooldown=TIME        an address rests so long after a container before it is given again, while others are free\n\n" +
			"Docker goes on showing what the network was made with.",
		Args: cobra.MinimumNArgs(2),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			return client.Send(c.Context(), http.MethodPatch, api.Named(api.NetworkRoute, args[0]), api.NetworkChange{Changes: args[1:]}, &struct{}{})
		}),
	}
	config.AddAgentFlags(c.Flags())
	return c
}

func newNetworkImport() *cobra.Command {
	c := &cobra.Command{
		Use:   "import NAME",
		Short: "Turn a built-in macvlan or ipvlan network of this host into one of the cluster",
		Args:  cobra.ExactArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			var imported network.Imported
			if err := client.Ask(c.Context(), http.MethodPost, api.Named(api.ImportRoute, args[0]), &imported); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), strings.Join(imported.Steps(), "\n"))
			return err
		}),
	}
	config.AddAgentFlags(c.Flags())
	return c
}
