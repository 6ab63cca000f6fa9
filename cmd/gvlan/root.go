package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gvlan/ipam/pool"
)

// version is set by the Makefile from git.
var version = "unknown"

// newRoot builds the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "gvlan",
		Short:         "Containers on many Docker hosts, directly on one LAN",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("gvlan {{.Version}}\n")
	root.SetFlagErrorFunc(explainFlag)
	root.AddCommand(newAgentCommand(), newStatusCommand(), newNetworkCommand(), newNodeCommand(), newMembersCommand(), newKeyCommand(), newNamesCommand(), newRecoverCommand(), newConfigCommand())
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
