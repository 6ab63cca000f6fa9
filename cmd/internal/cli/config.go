package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/driver/option"
)

// newConfigCommand is `gvlan config`.
func newConfigCommand() *cobra.Command {
	return frame.Group("config", "Look at the agent's settings", newConfigCheckCommand(), newConfigReferenceCommand())
}

// setting is a row of `gvlan config check`.
type setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func newConfigCheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate the settings and print them with their origins",
		Long: "Validates the settings as `gvlan agent` would with the same flags, environment and file,\n" +
			"and prints every value in effect with where it comes from. Starts nothing.",
		Example: `  gvlan config check
  gvlan config check --log-level debug
  gvlan config check --format '{{.Name}}={{.Value}}'`,
		Args: cobra.MaximumNArgs(1),
	}
	config.AddFlags(c.Flags())
	var loaded config.Settings
	load := func(c *cobra.Command, args []string) (shown []setting, err error) {
		if len(args) == 1 {
			if err := c.Flags().Set("config", args[0]); err != nil {
				return nil, err
			}
		}
		if loaded, err = config.Load(c.Flags(), os.Environ()); err != nil {
			return nil, frame.Misuse(err)
		}
		if err := loaded.Check(); err != nil {
			return nil, frame.Misuse(err)
		}
		if err := loaded.Config.CheckSecretFiles(); err != nil {
			return nil, err
		}
		if err := loaded.Config.ReadSecrets(); err != nil {
			return nil, err
		}
		for _, warning := range loaded.Warnings {
			fmt.Fprintln(c.ErrOrStderr(), "warning:", warning)
		}
		for _, s := range append(loaded.List, loaded.Parents...) {
			shown = append(shown, setting{s.Name, s.Shown(), s.Origin})
		}
		return shown, nil
	}
	return frame.ListingHere(c, load, frame.List[setting]{
		Name: func(s setting) string { return s.Name },
		Columns: func(time.Time) []frame.Column[setting] {
			return []frame.Column[setting]{
				{Head: "SETTING", Cell: func(s setting) string { return s.Name }},
				{Head: "VALUE", Cell: func(s setting) string { return s.Value }},
				{Head: "FROM", Cell: func(s setting) string { return s.Origin }},
			}
		},
		After: func(out io.Writer, _ []setting) error {
			_, err := fmt.Fprintf(out, "\nvalid; this agent %s\n", whose(loaded.Config))
			return err
		},
	})
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
	var asTOML, ofOptions, ofCommands bool
	c := &cobra.Command{
		Use:   "reference",
		Short: "Print every setting, option of a network or command as a Markdown table",
		Long:  "The tables of the READMEs of cmd/gvlan, driver and ipam are these; deploy/gvlan.toml is what --toml prints.",
		Example: `  gvlan config reference
  gvlan config reference --toml > /etc/gvlan/gvlan.toml
  gvlan config reference --options`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text := config.Reference()
			switch {
			case asTOML:
				text = config.ReferenceTOML()
			case ofOptions:
				text = option.Markdown("-o", option.Network()) + "\n" + option.Markdown("--ipam-opt", option.IPAM())
			case ofCommands:
				text = frame.Reference(c.Root())
			}
			_, err := io.WriteString(c.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().BoolVar(&asTOML, "toml", false, "print a configuration file with every default, commented out")
	c.Flags().BoolVar(&ofOptions, "options", false, "print the options of -o and --ipam-opt")
	c.Flags().BoolVar(&ofCommands, "commands", false, "print the commands")
	c.MarkFlagsMutuallyExclusive("toml", "options", "commands")
	return c
}
