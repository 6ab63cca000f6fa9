package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/cli/health"
	"gvlan/cmd/internal/cli/leases"
	"gvlan/cmd/internal/cli/names"
	"gvlan/cmd/internal/cli/networks"
	"gvlan/cmd/internal/cli/nodes"
	"gvlan/cmd/internal/cli/stores"
	"gvlan/cmd/internal/cli/web"
	"gvlan/cmd/internal/config"
)

// Run is gvlan with these arguments; it returns the exit status. `gvlan agent`
// is runAgent, which gets settings that were checked.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer, version string, runAgent func(context.Context, config.Settings) error) int {
	return frame.Run(ctx, newRoot(version, runAgent), args, stdout, stderr)
}

// Root is the tree of all commands as a reader sees it, for the manual: none of
// them can be run.
func Root(version string) *cobra.Command {
	root := newRoot(version, nil)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// newRoot builds the command tree.
func newRoot(version string, runAgent func(context.Context, config.Settings) error) *cobra.Command {
	root := &cobra.Command{
		Use:   "gvlan",
		Short: "Containers on many Docker hosts, directly on one LAN",
		Long: "Containers on many Docker hosts, directly on one LAN.\n\n" +
			"Commands ask this host's agent over its socket, which is root's. They end with 0 when all is well, 1 when\n" +
			"something failed, 2 when the command line is wrong and nothing was tried, and 3 when they worked and found\n" +
			"something wrong.",
		Example: `  gvlan status
  gvlan network ls
  gvlan completion bash > /etc/bash_completion.d/gvlan`,
		Version: version,
	}
	root.SetVersionTemplate("gvlan {{.Version}}\n")
	root.AddCommand(newAgentCommand(runAgent), newConfigCommand(), newVersionCommand(version),
		health.NewStatus(), health.NewDoctor(version), health.NewSupport(version), health.NewEvents(), health.NewAudit(), health.NewCleanup(), web.New(),
		networks.New(), networks.NewRoute(), networks.NewBGP(), names.New(),
		leases.NewWhois(), leases.NewLease(), leases.NewPool(), leases.NewConflict(), leases.NewReserve(), leases.NewUnreserve(),
		nodes.New(), nodes.NewMembers(), nodes.NewKey(),
		stores.NewInit(), stores.NewJoin(), stores.NewLeave(), stores.NewToken(), stores.NewAuthority(),
		stores.New(), stores.NewBackup(), stores.NewRestore(), stores.NewRecover())
	return root
}

// newVersionCommand is `gvlan version`.
func newVersionCommand(version string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version of this command", Args: cobra.NoArgs,
		Long:    "That of the agent, which may still be another after an upgrade, is in gvlan status.",
		Example: "  gvlan version\n  gvlan version --json",
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON {
				return frame.PrintJSON(c.OutOrStdout(), map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "gvlan", version)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
