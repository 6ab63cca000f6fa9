package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// newConfigCommand is `gvlan config`.
func newConfigCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Look at the agent's settings", Args: cobra.NoArgs}
	c.AddCommand(newConfigCheckCommand(), newConfigReferenceCommand())
	return c
}

func newConfigCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate the settings and print them with their origins",
		Long: "Validates the settings as `gvlan agent` would with the same flags, environment and file,\n" +
			"and prints every value in effect with where it comes from. Starts nothing.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := c.Flags().Set("config", args[0]); err != nil {
					return err
				}
			}
			loaded, err := load(c.Flags(), os.Environ())
			if err != nil {
				return err
			}
			if err := loaded.check(); err != nil {
				return err
			}
			if err := loaded.config.readSecrets(); err != nil {
				return err
			}
			return printSettings(c.OutOrStdout(), c.ErrOrStderr(), loaded)
		},
	}
	addFlags(c.Flags())
	return c
}

// printSettings shows every setting and the mode they amount to.
func printSettings(out, warn io.Writer, l settings) error {
	for _, warning := range l.warnings {
		fmt.Fprintln(warn, "warning:", warning)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range append(l.list, l.parents...) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.name, s.shown(), s.origin)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the settings: %w", err)
	}
	fmt.Fprintf(out, "\nvalid; this agent %s\n", l.config.mode().explain())
	return nil
}
