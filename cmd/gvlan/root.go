package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gvlan/ipam/pool"
)

// runCommand is gvlan with these arguments; it returns the exit status. The
// agent of this host is runAgent, which gets settings that were checked.
func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer, version string, runAgent func(context.Context, settings) error) int {
	stdout, stderr = visible{Writer: stdout}, visible{Writer: stderr}
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
func newRoot(version string, runAgent func(context.Context, settings) error) *cobra.Command {
	root := &cobra.Command{
		Use:           "gvlan",
		Short:         "Containers on many Docker hosts, directly on one LAN",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("gvlan {{.Version}}\n")
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(newAgentCommand(runAgent), newStatusCommand(), newNetworkCommand(), newNodeCommand(), newMembersCommand(), newKeyCommand(), newNamesCommand(), newRecoverCommand(), newConfigCommand())
	return root
}

// explainFlag adds the nearest known flag to pflag's complaint about an
// unknown one.
func explainFlag(c *cobra.Command, err error) error {
	unknown, ok := err.(*pflag.NotExistError)
	if !ok || len(unknown.GetSpecifiedName()) < 2 {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	}
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := pool.Nearest(unknown.GetSpecifiedName(), known); near != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
}
