package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
)

// newAgentCommand is `gvlan agent`.
func newAgentCommand(runAgent func(context.Context, config.Settings) error) *cobra.Command {
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host",
		Long: "Serves Docker's plugin API on this host until it is told to stop: for good (SIGTERM, SIGINT), which it tells\n" +
			"the other nodes, or to give way to its successor (SIGUSR1), which they need not notice.\n" +
			"Every flag can also be given as GVLAN_... in the environment, or in " + config.DefaultFile + ".",
		Example: `  gvlan agent
  gvlan agent --etcd-endpoints https://etcd.example:2379 --etcd-ca /etc/gvlan/ca.pem`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			began := time.Now()
			loaded, err := config.Load(c.Flags(), os.Environ())
			if err == nil {
				err = loaded.Check()
			}
			if err != nil {
				err = frame.Misuse(err)
			} else {
				err = runAgent(c.Context(), loaded)
			}
			if managed := loaded.Config.Swarm || c.Flag("swarm").Value.String() == "on"; managed && err != nil {
				return outlive(c.Context(), began, c.ErrOrStderr(), err)
			}
			return err
		},
	}
	config.AddFlags(c.Flags())
	return c
}

// leastLife is how long a managed plugin whose agent failed stays, counted
// from its start, unless Docker ends it before.
//
// Docker starts a plugin whose process ended at once again, and hears of that
// process's end only after it has waited 12.5 s for its socket. Whoever enables
// the plugin meanwhile gets one more process, which engine 28 then kills for
// the end of the other, and each later one for the end of the one before,
// until the plugin is disabled; 20.10 says "id already in use". A process that
// stays until Docker gives it up has an end that cannot be another's. Docker
// knows no pause between two processes either: this is it.
const leastLife = 30 * time.Second

// outlive says why the agent of a managed plugin failed, and returns when
// Docker tells the process to end or it is leastLife old.
func outlive(ctx context.Context, began time.Time, stderr io.Writer, failed error) error {
	left := leastLife - time.Since(began)
	if left <= 0 || ctx.Err() != nil {
		return failed
	}
	fmt.Fprintf(stderr, "gvlan: %v (the process ends once Docker gives the plugin up, in %s at the latest)\n", failed, left.Round(time.Second))
	store.Sleep(ctx, left)
	return frame.Told(failed)
}
