package stores

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
)

// NewRecover is `gvlan recover`.
func NewRecover() *cobra.Command {
	var without []string
	var wait time.Duration
	c := &cobra.Command{
		Use:   "recover",
		Short: "Accept an etcd that lost its past as the truth again",
		Long: "An agent that finds another etcd than the one it knew, or one restored from an older copy, stops\n" +
			"new addresses in the whole cluster; every agent writes the leases of its own containers back.\n" +
			"Run this once, on any host: it waits until every known node has done so, and opens the cluster\n" +
			"again. For ten minutes afterwards the LAN is asked before an address is given.\n\n" +
			"Also says that this host is the node of its name, where another install of gvlan had that name\n" +
			"before: this one then looks after what the store keeps of that node.",
		Example: `  gvlan recover
  gvlan recover --without h3
  gvlan recover --wait 5m`,
		Args: cobra.NoArgs,
	}
	ask := func(c *cobra.Command, client *api.Client, _ []string) (api.Recovered, error) {
		waiting := frame.Waiting(c, "every known node to write again what it holds")
		defer waiting.End()
		return awaitRecovery(c.Context(), client, without, wait, waiting)
	}
	frame.Showing(c, ask, func(c *cobra.Command, _ *api.Client, r api.Recovered) error {
		terminal.InCells(&r)
		for _, conflict := range r.Conflicts {
			fmt.Fprintln(c.OutOrStdout(), "conflict: "+conflict)
		}
		if len(r.Nodes) > 0 {
			fmt.Fprintln(c.OutOrStdout(), "leases were written back by "+strings.Join(r.Nodes, ", "))
		}
		_, err := fmt.Fprintf(c.OutOrStdout(), "cluster %s is trusted again\n", r.Cluster)
		return err
	})
	c.Flags().StringSliceVar(&without, "without", nil, "go on without these `NODES`, whose agents cannot be started")
	c.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait for the others, as `5m`")
	frame.CompletesFlag(c, "without", frame.Nodes)
	return c
}

// recoverAgain is the pause between two questions to the agent.
const recoverAgain = time.Second

// awaitRecovery asks until no node is waited for any more.
func awaitRecovery(ctx context.Context, client *api.Client, without []string, wait time.Duration, waiting *frame.Wait) (api.Recovered, error) {
	route := api.RecoverRoute + "?" + url.Values{"without": without}.Encode()
	end := time.Now().Add(wait)
	for {
		var r api.Recovered
		if err := client.Ask(ctx, http.MethodPost, route, &r); err != nil || len(r.Waiting) == 0 {
			return r, err
		}
		waiting.For(strings.Join(r.Waiting, ", ") + " to write again what they hold")
		if time.Now().After(end) || !store.Sleep(ctx, recoverAgain) {
			return r, waitingError(r)
		}
	}
}

// waitingError says for whom a recovery waits, and the two ways on.
func waitingError(r api.Recovered) error {
	missing := strings.Join(r.Waiting, ",")
	state := "their leases are not written back yet"
	if len(r.Absent) > 0 {
		state = "the agents of " + strings.Join(r.Absent, ", ") + " are not connected"
	}
	return fmt.Errorf("nothing was recovered: it waits for %s (%s): start the agents there and run this again, or go on without them: gvlan recover --without %s; "+
		"containers that run there may then lose their addresses to others", strings.Join(r.Waiting, ", "), state, missing)
}
