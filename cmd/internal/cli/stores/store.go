package stores

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// New is `gvlan store`.
func New() *cobra.Command {
	c := &cobra.Command{Use: "store", Short: "The store of this cluster: which hosts keep it"}
	list := &cobra.Command{Use: "ls", Short: "List the members of the store, and why other hosts are none", Args: cobra.NoArgs}
	c.AddCommand(frame.Showing(list, frame.At[api.StoreView](api.StoreRoute), func(c *cobra.Command, _ *api.Client, v api.StoreView) error {
		return printStore(c.OutOrStdout(), v)
	}), newStoreSize(), newStoreRecover())
	return c
}

func newStoreSize() *cobra.Command {
	c := &cobra.Command{
		Use: "size 1|3|5|auto", Short: "Say how many members vote; auto is 1 for up to two hosts, else 3", Args: cobra.ExactArgs(1),
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			voters := 0
			if args[0] != "auto" {
				var err error
				if voters, err = strconv.Atoi(args[0]); err != nil {
					return fmt.Errorf("size %q: give 1, 3, 5 or auto", args[0])
				}
			}
			return client.Send(c.Context(), http.MethodPost, api.StoreSizeRoute, api.StoreSize{Voters: voters}, &struct{}{})
		}),
	}
	config.AddAgentFlags(c.Flags())
	return c
}

// printStore shows members first, then the hosts without one.
func printStore(out io.Writer, v api.StoreView) error {
	terminal.InCells(&v)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "HOST\tROLE\tADDRESS\tBEHIND\tSIZE\tNOTE")
	for _, m := range v.Members {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\n", orNode(m.Host, m.Node), m.Role, terminal.OrDash(m.Address), m.Lag, sizeOf(m.Size), terminal.OrDash(m.Why))
	}
	for _, h := range v.Hosts {
		fmt.Fprintf(table, "%s\t-\t-\t-\t-\t%s\n", orNode(h.Host, h.Node), h.Why)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the store: %w", err)
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	return nil
}

func orNode(host, node string) string {
	if strings.TrimSpace(host) == "" {
		return node
	}
	return host
}

// sizeOf is a number of bytes for people.
func sizeOf(bytes int64) string {
	const mega = 1 << 20
	if bytes <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/mega)
}
