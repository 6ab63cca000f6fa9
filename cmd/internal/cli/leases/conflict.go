package leases

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// NewConflict is `gvlan conflict`.
func NewConflict() *cobra.Command {
	return frame.Group("conflict", "Look at the addresses that somebody on the LAN has who is not gvlan's", newConflictList(), newConflictClear())
}

func newConflictList() *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Short: "List the addresses that somebody else on the LAN uses: who, and which host saw it", Args: cobra.NoArgs,
		Long: "Lists the addresses that somebody on the LAN uses who is none of gvlan's. Those without a container are free, and\n" +
			"are not given while somebody answers for them: hosts ask again at intervals of up to five minutes. Those with one\n" +
			"are in use twice: give the other machine another address, or stop the container and start it again.",
		Example: "  gvlan conflict ls\n  gvlan conflict ls --wide\n  gvlan conflict ls --format '{{.Address}} {{.MAC}}'",
	}
	return frame.Listing(c, frame.At[[]api.ConflictView](api.ConflictsRoute), frame.List[api.ConflictView]{
		Name: func(v api.ConflictView) string { return v.Address.String() },
		Columns: func(now time.Time) []frame.Column[api.ConflictView] {
			return []frame.Column[api.ConflictView]{
				{Head: "ADDRESS", Cell: func(v api.ConflictView) string { return v.Address.String() }},
				{Head: "NETWORK", Cell: func(v api.ConflictView) string { return v.Network }},
				{Head: "CONTAINER", Cell: func(v api.ConflictView) string { return v.Container }},
				{Head: "USED BY", Cell: func(v api.ConflictView) string { return v.MAC }},
				{Head: "SEEN BY", Cell: func(v api.ConflictView) string { return v.Host }},
				{Head: "SINCE", Cell: func(v api.ConflictView) string { return terminal.Since(v.Since, now) }},
				{Head: "VENDOR", Wide: true, Cell: func(v api.ConflictView) string { return v.Vendor }},
				{Head: "LAST SEEN", Wide: true, Cell: func(v api.ConflictView) string { return terminal.Since(v.Seen, now) }},
				{Head: "SEGMENT", Wide: true, Cell: func(v api.ConflictView) string { return v.Segment }},
				{Head: "NODE ID", Wide: true, Cell: func(v api.ConflictView) string { return v.Node }},
			}
		},
		Empty: "nobody else on the LAN uses an address of a network's",
	})
}

func newConflictClear() *cobra.Command {
	var segment string
	c := &cobra.Command{
		Use: "clear [ADDRESS]", Short: "End the conflict over a free address, or over all of them", Args: cobra.MaximumNArgs(1),
		Long: "Ends the conflict over a free address, without asking whether somebody still answers for it: the LAN is asked\n" +
			"when a container is to be given it. Prints each address that is given again. One that a container has is in use\n" +
			"twice until one of the two lets go: that ends by itself.",
		Example: "  gvlan conflict clear 192.168.1.129\n  gvlan conflict clear",
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			address := ""
			if len(args) > 0 {
				addr, err := netip.ParseAddr(args[0])
				if err != nil || addr.Zone() != "" {
					return frame.Misusef("%q is no address: write it like 192.168.1.20 or fd00::20", args[0])
				}
				address = addr.Unmap().String()
			}
			var cleared []netip.Addr
			if err := client.Ask(c.Context(), http.MethodDelete, api.ConflictsOf(address, segment), &cleared); err != nil {
				return err
			}
			if address != "" && len(cleared) == 0 {
				return fmt.Errorf("address %s is in no conflict: gvlan conflict ls lists those that are", address)
			}
			for _, addr := range cleared {
				if _, err := fmt.Fprintln(c.OutOrStdout(), addr); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	c.Flags().StringVar(&segment, "segment", "", "only in this segment")
	config.AddAgentFlags(c.Flags())
	return frame.Completes(c, contested)
}

// contested are the free addresses in conflict.
func contested(ctx context.Context, client *api.Client) (all []cobra.Completion, err error) {
	var views []api.ConflictView
	err = client.Get(ctx, api.ConflictsRoute, &views)
	for _, v := range slices.DeleteFunc(views, func(v api.ConflictView) bool { return v.Container != "" }) {
		all = append(all, v.Address.String())
	}
	return all, err
}
