package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/pool"
)

// Run is gvlan with these arguments; it returns the exit status. `gvlan agent`
// is runAgent, which gets settings that were checked.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer, version string, runAgent func(context.Context, config.Settings) error) int {
	stdout, stderr = terminal.NewWriter(stdout), terminal.NewWriter(stderr)
	root := newRoot(version, runAgent)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[told](err); !ok {
		fmt.Fprintln(stderr, "gvlan:", err)
	}
	return 1
}

// newRoot builds the command tree.
func newRoot(version string, runAgent func(context.Context, config.Settings) error) *cobra.Command {
	root := &cobra.Command{
		Use:           "gvlan",
		Short:         "Containers on many Docker hosts, directly on one LAN",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("gvlan {{.Version}}\n")
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(newAgentCommand(runAgent), newStatusCommand(), newNetworkCommand(), newNodeCommand(), newMembersCommand(), newKeyCommand(), newNamesCommand(), newRecoverCommand(), newConfigCommand(),
		newInitCommand(), newJoinCommand(), newLeaveCommand(), newTokenCommand(), newStoreCommand(), newBackupCommand(), newRestoreCommand(), newAuthorityCommand())
	return root
}

// explainFlag adds the nearest known flag to pflag's complaint about an
// unknown one.
func explainFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	}
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := pool.Nearest(unknown.GetSpecifiedName(), known); near != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
}

// withAgent runs a command that asks this host's agent.
func withAgent(run func(*cobra.Command, *api.Client, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		client, err := clientOf(c)
		if err != nil {
			return err
		}
		return run(c, client, args)
	}
}

// showing has a command print what ask gets from this host's agent: by show, for
// people, or with --json as it is.
func showing[T any](c *cobra.Command, ask func(*cobra.Command, *api.Client, []string) (T, error), show func(*cobra.Command, *api.Client, T) error) *cobra.Command {
	var asJSON bool
	c.RunE = withAgent(func(c *cobra.Command, client *api.Client, args []string) error {
		answer, err := ask(c, client, args)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), answer)
		}
		return show(c, client, answer)
	})
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	config.AddAgentFlags(c.Flags())
	return c
}

// at is the answer of one route, for showing.
func at[T any](route string) func(*cobra.Command, *api.Client, []string) (T, error) {
	return func(c *cobra.Command, client *api.Client, _ []string) (answer T, err error) {
		err = client.Get(c.Context(), route, &answer)
		return answer, err
	}
}

// aged prints an answer that says how old things are, for showing.
func aged[T any](print func(io.Writer, T, time.Time) error) func(*cobra.Command, *api.Client, T) error {
	return func(c *cobra.Command, _ *api.Client, answer T) error {
		return print(c.OutOrStdout(), answer, time.Now())
	}
}

// clientOf finds the socket by the settings of the command.
func clientOf(c *cobra.Command) (*api.Client, error) {
	loaded, err := config.Load(c.Flags(), os.Environ())
	if err != nil {
		return nil, err
	}
	return api.NewClient(loaded.Config.StatusSocket), nil
}

// printJSON is what --json prints.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// orDash is a dash for "": an empty cell of a table is hard to see.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
