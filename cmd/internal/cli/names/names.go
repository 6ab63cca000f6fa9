// Package names is `gvlan dns`: what names containers have, and what another
// resolver has to be told.
package names

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
	"gvlan/dns/listen"
)

// New is `gvlan dns`.
func New() *cobra.Command {
	return frame.Group("dns", "Look at the names of containers, and let other resolvers know them", newNamesList(), newNamesLookup(), newNamesSetup(), newNamesCounts())
}

func newNamesList() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "ls", Short: "List every name and who has it", Args: cobra.NoArgs,
		Long: "Containers that share a name, and networks without full names, are warned of.",
		Example: `  gvlan dns ls
  gvlan dns ls --format '{{.Name}}.{{.Network}} {{.Host}}'`,
	}
	c.Flags().StringVar(&from, "from", "", "only what this `CONTAINER` sees")
	var doubts []string
	seen := func(c *cobra.Command, client *api.Client, _ []string) (views []api.NameView, err error) {
		if err := client.Get(c.Context(), api.DoubtsRoute+"?from="+url.QueryEscape(from), &doubts); err != nil {
			return nil, err
		}
		err = client.Get(c.Context(), api.NamesRoute+"?from="+url.QueryEscape(from), &views)
		return views, err
	}
	frame.Listing(c, seen, frame.List[api.NameView]{
		Name: func(v api.NameView) string { return v.Name },
		Columns: func(time.Time) []frame.Column[api.NameView] {
			return []frame.Column[api.NameView]{
				{Head: "NAME", Cell: func(v api.NameView) string { return v.Name }},
				{Head: "NETWORK", Cell: func(v api.NameView) string { return v.Network }},
				{Head: "ADDRESSES", Cell: addressesColumn},
				{Head: "NODE", Cell: func(v api.NameView) string { return v.Host }},
				{Head: "NODE ID", Wide: true, Cell: func(v api.NameView) string { return v.Node }},
			}
		},
		Before: func(io.Writer, []api.NameView) error {
			printDoubts(c.ErrOrStderr(), doubts)
			return nil
		},
		Empty: "no container has a name yet",
	})
	frame.CompletesFlag(c, "from", frame.Containers)
	return c
}

func addressesColumn(v api.NameView) string {
	var addresses []string
	for _, a := range v.Addresses {
		addresses = append(addresses, a.String())
	}
	return strings.Join(addresses, ",")
}

func newNamesLookup() *cobra.Command {
	var from, qtype string
	c := &cobra.Command{
		Use: "lookup NAME", Short: "Answer a question as a container, or the host, would be answered", Args: cobra.ExactArgs(1),
		Long: "Without --from it answers as the agent's listener does, by full names.",
		Example: `  gvlan dns lookup web --from db
  gvlan dns lookup web.lan.gvlan.internal
  gvlan dns lookup _http._tcp.web --from db --type SRV`,
	}
	ask := func(c *cobra.Command, client *api.Client, args []string) (looked api.Looked, err error) {
		if !slices.Contains(types(), strings.ToUpper(qtype)) {
			return looked, frame.Misusef("--type %q is no type of record: give %s", qtype, strings.Join(types(), ", "))
		}
		query := url.Values{"name": {args[0]}, "type": {qtype}, "from": {from}}
		err = client.Get(c.Context(), api.LookupRoute+"?"+query.Encode(), &looked)
		return looked, err
	}
	frame.Showing(c, ask, func(c *cobra.Command, _ *api.Client, looked api.Looked) error {
		name := c.Flags().Arg(0)
		if !looked.Known {
			return fmt.Errorf("%s is no name of gvlan's in that scope: the question would be passed on%s", name, looked.Hint)
		}
		if looked.Hint != "" {
			fmt.Fprintf(c.ErrOrStderr(), "%s does not exist in that scope%s\n", name, looked.Hint)
		}
		_, err := fmt.Fprint(c.OutOrStdout(), looked.Answer)
		return err
	})
	c.Flags().StringVar(&from, "from", "", "ask as this `CONTAINER`")
	c.Flags().StringVar(&qtype, "type", "A", "`TYPE` of record: "+strings.Join(types(), ", "))
	frame.CompletesFlag(c, "from", frame.Containers)
	frame.CompletesWords(c, "type", types()...)
	return frame.Completes(c, frame.Containers)
}

// types are those of records that there are.
func types() []string { return []string{"A", "AAAA", "PTR", "SRV", "TXT", "SOA", "NS", "ANY"} }

// count is a row of `gvlan dns counts`.
type count struct {
	Zone    string `json:"zone"`
	Code    string `json:"code"`
	Answers uint64 `json:"answers"`
}

func newNamesCounts() *cobra.Command {
	c := &cobra.Command{
		Use: "counts", Short: "Count this agent's answers by zone and rcode", Args: cobra.NoArgs,
		Long: "Counted since the agent started.",
		Example: `  gvlan dns counts
  gvlan dns counts --json`,
	}
	return frame.ListingOf(c, frame.At[[]api.NameCounts](api.CountsRoute), countsOf, frame.List[count]{
		Name: func(c count) string { return c.Zone + " " + c.Code },
		Columns: func(time.Time) []frame.Column[count] {
			return []frame.Column[count]{
				{Head: "ZONE", Cell: func(c count) string { return c.Zone }},
				{Head: "RCODE", Cell: func(c count) string { return c.Code }},
				{Head: "ANSWERS", Cell: func(c count) string { return strconv.FormatUint(c.Answers, 10) }},
			}
		},
		Empty: "nothing was asked yet",
	})
}

func countsOf(zones []api.NameCounts) (all []count) {
	for _, z := range zones {
		for _, code := range slices.Sorted(maps.Keys(z.Codes)) {
			if z.Codes[code] > 0 {
				all = append(all, count{z.Zone, code, z.Codes[code]})
			}
		}
	}
	return all
}

// resolvedDropIn is where systemd-resolved reads what `dns setup` writes.
const resolvedDropIn = "/etc/systemd/resolved.conf.d/gvlan.conf"

func newNamesSetup() *cobra.Command {
	var write bool
	c := &cobra.Command{
		Use:   "setup [resolved|dnsmasq|coredns|unbound|resolv.conf]",
		Short: "Print what another resolver has to be told, or join systemd-resolved",
		Long: "Prints all of them without an argument. --write lets systemd-resolved of this host know the names, once it is\n" +
			"restarted.",
		Example: `  gvlan dns setup
  gvlan dns setup dnsmasq
  gvlan dns setup --write`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: []cobra.Completion{"resolved", "dnsmasq", "coredns", "unbound", "resolv.conf"},
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			if len(args) == 1 && !slices.Contains(c.ValidArgs, args[0]) {
				return frame.Misusef("%q is no resolver known here: give %s", args[0], strings.Join(c.ValidArgs, ", "))
			}
			setup, err := frame.Answered(c, func() (setup listen.Setup, err error) {
				err = client.Get(c.Context(), api.SetupRoute, &setup)
				return setup, err
			})
			if err != nil {
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
