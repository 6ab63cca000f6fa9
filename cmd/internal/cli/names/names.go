package names

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
	"gvlan/dns/listen"
)

// New is `gvlan dns`.
func New() *cobra.Command {
	c := &cobra.Command{Use: "dns", Short: "Look at the names of containers, and let other resolvers know them"}
	c.AddCommand(newNamesList(), newNamesLookup(), newNamesSetup(), newNamesCounts())
	return c
}

func newNamesList() *cobra.Command {
	var from string
	c := &cobra.Command{Use: "ls", Short: "List every name and who has it", Args: cobra.NoArgs}
	c.Flags().StringVar(&from, "from", "", "only what this container sees")
	seen := func(c *cobra.Command, client *api.Client, _ []string) (views []api.NameView, err error) {
		err = client.Get(c.Context(), api.NamesRoute+"?from="+url.QueryEscape(from), &views)
		return views, err
	}
	return frame.Showing(c, seen, func(c *cobra.Command, client *api.Client, views []api.NameView) error {
		var doubts []string
		if err := client.Get(c.Context(), api.DoubtsRoute+"?from="+url.QueryEscape(from), &doubts); err != nil {
			return err
		}
		printDoubts(c.ErrOrStderr(), doubts)
		return printNames(c.OutOrStdout(), views)
	})
}

func printNames(out io.Writer, views []api.NameView) error {
	terminal.InCells(&views)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NAME\tNETWORK\tADDRESSES\tHOST")
	for _, r := range views {
		var addresses []string
		for _, a := range r.Addresses {
			addresses = append(addresses, a.String())
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Name, terminal.OrDash(r.Network), strings.Join(addresses, ","), r.Host)
	}
	return table.Flush()
}

func newNamesLookup() *cobra.Command {
	var from, qtype string
	c := &cobra.Command{
		Use: "lookup NAME", Short: "Answer a question as a container, or the host, would be answered", Args: cobra.ExactArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			query := url.Values{"name": {args[0]}, "type": {qtype}, "from": {from}}
			var looked api.Looked
			if err := client.Get(c.Context(), api.LookupRoute+"?"+query.Encode(), &looked); err != nil {
				return err
			}
			if !looked.Known {
				return fmt.Errorf("%s is no name of gvlan's in that scope: the question would be passed on%s", args[0], looked.Hint)
			}
			if looked.Hint != "" {
				fmt.Fprintf(c.ErrOrStderr(), "%s does not exist in that scope%s\n", args[0], looked.Hint)
			}
			_, err := fmt.Fprint(c.OutOrStdout(), looked.Answer)
			return err
		}),
	}
	c.Flags().StringVar(&from, "from", "", "ask as this container")
	c.Flags().StringVar(&qtype, "type", "A", "A, AAAA, PTR, SRV, TXT, SOA, NS or ANY")
	config.AddAgentFlags(c.Flags())
	return c
}

func newNamesCounts() *cobra.Command {
	c := &cobra.Command{
		Use: "counts", Short: "Count this agent's answers by zone and rcode", Args: cobra.NoArgs,
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, _ []string) error {
			var all []api.NameCounts
			if err := client.Get(c.Context(), api.CountsRoute, &all); err != nil {
				return err
			}
			terminal.InCells(&all)
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "ZONE\tRCODE\tANSWERS")
			for _, z := range all {
				for _, code := range slices.Sorted(maps.Keys(z.Codes)) {
					fmt.Fprintf(table, "%s\t%s\t%d\n", z.Zone, code, z.Codes[code])
				}
			}
			return table.Flush()
		}),
	}
	config.AddAgentFlags(c.Flags())
	return c
}

// resolvedDropIn is where systemd-resolved reads what `dns setup` writes.
const resolvedDropIn = "/etc/systemd/resolved.conf.d/gvlan.conf"

func newNamesSetup() *cobra.Command {
	var write bool
	c := &cobra.Command{
		Use:   "setup [resolved|dnsmasq|coredns|unbound|resolv.conf]",
		Short: "Print what another resolver has to be told, or join systemd-resolved",
		Args:  cobra.MaximumNArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			var setup listen.Setup
			if err := client.Get(c.Context(), api.SetupRoute, &setup); err != nil {
				return err
			}
			if write {
				return joinResolved(setup, c.OutOrStdout())
			}
			return printSetup(setup, args, c.OutOrStdout())
		}),
	}
	c.Flags().BoolVar(&write, "write", false, "write "+resolvedDropIn)
	config.AddAgentFlags(c.Flags())
	return c
}

// joinResolved writes the drop-in; systemd-resolved takes it up when it is
// restarted, which is left to the user.
func joinResolved(setup listen.Setup, out io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(resolvedDropIn), 0o755); err != nil {
		return fmt.Errorf("join systemd-resolved: %w", err)
	}
	if err := os.WriteFile(resolvedDropIn, []byte(setup.Resolved()), 0o644); err != nil {
		return fmt.Errorf("join systemd-resolved: %w", err)
	}
	_, err := fmt.Fprintf(out, "wrote %s; now: systemctl restart systemd-resolved\n", resolvedDropIn)
	return err
}

func printSetup(setup listen.Setup, args []string, out io.Writer) error {
	line, lineErr := setup.ResolvConf()
	kinds := []struct{ name, about, text string }{
		{"resolved", "systemd-resolved, " + resolvedDropIn, setup.Resolved()},
		{"dnsmasq", "dnsmasq.conf", setup.Dnsmasq()},
		{"coredns", "Corefile", setup.CoreDNS()},
		{"unbound", "unbound.conf", setup.Unbound()},
		{"resolv.conf", "top of /etc/resolv.conf", line},
	}
	for _, k := range kinds {
		if len(args) == 1 && args[0] == k.name {
			if k.name == "resolv.conf" && lineErr != nil {
				return lineErr
			}
			_, err := fmt.Fprint(out, k.text)
			return err
		}
	}
	if len(args) == 1 {
		return fmt.Errorf("%q is no resolver known here: resolved, dnsmasq, coredns, unbound or resolv.conf", args[0])
	}
	for _, k := range kinds {
		if k.text != "" {
			fmt.Fprintf(out, "# %s\n%s\n", k.about, k.text)
		}
	}
	return nil
}

func printDoubts(out io.Writer, doubts []string) {
	terminal.InCells(&doubts)
	for _, doubt := range doubts {
		fmt.Fprintln(out, "warning:", doubt)
	}
}
