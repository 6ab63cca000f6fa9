package cli

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/config"
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
			loaded, err := config.Load(c.Flags(), os.Environ())
			if err != nil {
				return err
			}
			if err := loaded.Check(); err != nil {
				return err
			}
			if err := loaded.Config.ReadSecrets(); err != nil {
				return err
			}
			return printSettings(c.OutOrStdout(), c.ErrOrStderr(), loaded)
		},
	}
	config.AddFlags(c.Flags())
	return c
}

// printSettings shows every setting and the mode they amount to.
func printSettings(out, warn io.Writer, l config.Settings) error {
	for _, warning := range l.Warnings {
		fmt.Fprintln(warn, "warning:", warning)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range append(l.List, l.Parents...) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, s.Shown(), s.Origin)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the settings: %w", err)
	}
	fmt.Fprintf(out, "\nvalid; this agent %s\n", whose(l.Config))
	return nil
}

// whose says in a sentence whose store an agent with these settings uses.
func whose(c config.Config) string {
	switch {
	case c.External():
		return "uses an existing etcd cluster"
	case c.Join.Address != "":
		return "joins the cluster of " + c.Join.Address + ", once"
	case c.Etcd.Listen != "":
		return "serves a member of its cluster's own store at " + c.Etcd.Listen
	}
	return "is solo until gvlan init opens its store to others, or gvlan join brings it into a cluster"
}

// newConfigReferenceCommand is `gvlan config reference`.
func newConfigReferenceCommand() *cobra.Command {
	var asTOML bool
	c := &cobra.Command{
		Use:   "reference",
		Short: "Print every setting as a Markdown table, or as a configuration file",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text := config.Reference()
			if asTOML {
				text = config.ReferenceTOML()
			}
			_, err := io.WriteString(c.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().BoolVar(&asTOML, "toml", false, "print a configuration file with every default, commented out")
	return c
}
