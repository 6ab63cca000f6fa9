package leases

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
	"gvlan/driver/visible"
	"gvlan/ipam/survey"
)

// NewLease is `gvlan lease`.
func NewLease() *cobra.Command {
	return frame.Group("lease", "Look at the addresses that were given, and free one that nobody uses", newLeaseList(), newLeaseShow(), newLeaseRelease())
}

func newLeaseList() *cobra.Command {
	var network, node string
	c := &cobra.Command{
		Use: "ls", Short: "List every address that has a record: who has it, on which host, in which state", Args: cobra.NoArgs,
		Long: "Lists every address that has a record in the store, in the order of addresses: those of containers, those that\n" +
			"networks keep (gateway, aux), those that are reserved (gvlan reserve), with the container that they are for, and\n" +
			"those that rest (after a container, or after an eviction).",
		Example: "  gvlan lease ls\n  gvlan lease ls --network lan --wide\n  gvlan lease ls -q --node h1",
	}
	c.Flags().StringVar(&network, "network", "", "only of this network")
	c.Flags().StringVar(&node, "node", "", "only of this host, by its name or node")
	frame.CompletesFlag(c, "network", frame.Networks)
	frame.CompletesFlag(c, "node", frame.Nodes)
	ask := func(c *cobra.Command, client *api.Client, _ []string) ([]api.LeaseView, error) {
		return api.AskLeases(c.Context(), client, network, node)
	}
	return frame.Listing(c, ask, leaseList())
}

// leaseList is how they are shown.
func leaseList() frame.List[api.LeaseView] {
	return frame.List[api.LeaseView]{
		Name: func(v api.LeaseView) string { return v.Address.String() },
		Columns: func(now time.Time) []frame.Column[api.LeaseView] {
			return []frame.Column[api.LeaseView]{
				{Head: "ADDRESS", Cell: func(v api.LeaseView) string { return v.Address.String() }},
				{Head: "NETWORK", Cell: facts.Network},
				{Head: "CONTAINER", Cell: facts.Container},
				{Head: "NODE", Cell: func(v api.LeaseView) string { return v.Host }},
				{Head: "STATE", Cell: func(v api.LeaseView) string { return string(v.State) }},
				{Head: "SINCE", Cell: func(v api.LeaseView) string { return terminal.Since(v.Since, now) }},
				{Head: "MAC", Wide: true, Cell: func(v api.LeaseView) string { return v.MAC }},
				{Head: "PARENT", Wide: true, Cell: func(v api.LeaseView) string { return v.Parent }},
				{Head: "SEGMENT", Wide: true, Cell: func(v api.LeaseView) string { return v.Segment }},
				{Head: "CONTAINER ID", Wide: true, Cell: func(v api.LeaseView) string { return visible.ID(v.ContainerID) }},
				{Head: "ENDPOINT", Wide: true, Cell: func(v api.LeaseView) string { return visible.ID(v.Endpoint) }},
				{Head: "NODE ID", Wide: true, Cell: func(v api.LeaseView) string { return v.Node }},
			}
		},
		After: func(out io.Writer, views []api.LeaseView) error {
			if len(views) == 0 {
				return nil
			}
			return printAge(out, views[0].AsOf, time.Now())
		},
		Empty: "no address has a record",
	}
}

// which says which of the addresses with one spelling is meant.
type which struct{ network, segment string }

func (w *which) register(c *cobra.Command) {
	c.Flags().StringVar(&w.network, "network", "", "the address of this network, where several have it")
	c.Flags().StringVar(&w.segment, "segment", "", "the address in this segment, where several have it")
	frame.CompletesFlag(c, "network", frame.Networks)
}

// recorded gets an address that has a record, in each segment where it has one.
func (w *which) recorded(c *cobra.Command, client *api.Client, arg string) (recorded []api.LeaseDetail, err error) {
	addr, err := netip.ParseAddr(arg)
	if err != nil || addr.Zone() != "" {
		return nil, frame.Misusef("%q is no address: write it like 192.168.1.20 or fd00::20", arg)
	}
	var all []api.LeaseDetail
	if err := client.Get(c.Context(), api.Lease(addr.Unmap().String(), w.network, w.segment), &all); err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.Key != "" || d.State == survey.Resting || d.Reservation != nil || !d.AsOf.IsZero() {
			recorded = append(recorded, d)
		}
	}
	if len(recorded) == 0 {
		return nil, fmt.Errorf("address %s has no lease: gvlan whois %s tells what there is to know of it", addr, addr)
	}
	return recorded, nil
}

func newLeaseShow() *cobra.Command {
	var which which
	c := &cobra.Command{
		Use: "show ADDRESS", Short: "Show all there is of an address that has a record", Args: cobra.ExactArgs(1),
		Example: "  gvlan lease show 192.168.1.20\n  gvlan lease show --json fd00::20",
	}
	which.register(c)
	ask := func(c *cobra.Command, client *api.Client, args []string) ([]api.LeaseDetail, error) {
		return which.recorded(c, client, args[0])
	}
	frame.Completes(c, frame.Addresses)
	return frame.Showing(c, ask, frame.Aged(printDetails))
}

func printDetails(out io.Writer, all []api.LeaseDetail, now time.Time) error {
	terminal.InCells(&all)
	for i, d := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := printFacts(out, facts.OfLease(d, now), d.AsOf, now); err != nil {
			return err
		}
	}
	return nil
}

// printFacts prints what there is to say, and how old that is.
func printFacts(out io.Writer, all facts.Facts, asOf, now time.Time) error {
	table := terminal.Table{Plain: true}
	for _, fact := range all {
		table.Rows = append(table.Rows, []string{fact.Name, fact.Text})
	}
	if err := table.Print(out); err != nil {
		return err
	}
	return printAge(out, asOf, now)
}

// printAge says that etcd does not answer, where something is what it said last.
func printAge(out io.Writer, asOf, now time.Time) error {
	age := facts.Age(asOf, now)
	if age == "" {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n%s\n", age)
	return err
}

func newLeaseRelease() *cobra.Command {
	var which which
	var force bool
	c := &cobra.Command{
		Use: "release ADDRESS", Short: "Free an address that nobody uses", Args: cobra.ExactArgs(1),
		Long: "Frees an address that was given and that no container has. It is refused while somebody uses the address or\n" +
			"may: then it says who, and what to do. The LAN is asked first, which takes up to 1.5 seconds.",
		Example: "  gvlan lease release 192.168.1.20\n  gvlan lease release --force 192.168.1.20",
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			all, err := frame.Answered(c, func() ([]api.LeaseDetail, error) { return which.recorded(c, client, args[0]) })
			if err != nil {
				return err
			}
			if len(all) > 1 {
				var segments []string
				for _, d := range all {
					segments = append(segments, d.Segment)
				}
				return frame.Misusef("address %s has a lease in several segments: give --segment, one of %s", args[0], strings.Join(segments, ", "))
			}
			d := all[0]
			switch {
			case !d.AsOf.IsZero():
				return fmt.Errorf("etcd does not answer this host: nothing can be released")
			case d.Key == "" && d.Reservation != nil:
				return fmt.Errorf("address %s has no lease, it is reserved: gvlan unreserve %s %s ends that", d.Address, d.Network, d.Address)
			case d.Key == "":
				return fmt.Errorf("address %s has no lease, it only rests: it is given when nothing else is free", d.Address)
			}
			wait := frame.Waiting(c, "the LAN, whether anybody answers for "+args[0])
			err = client.Ask(c.Context(), http.MethodDelete, api.LeaseAt(d.Entry, force), &struct{}{})
			wait.End()
			if err == nil {
				_, err = fmt.Fprintln(c.OutOrStdout(), d.Address)
			}
			return err
		}),
	}
	which.register(c)
	c.Flags().BoolVar(&force, "force", false, "also from quarantine, and where this host cannot ask the LAN")
	config.AddAgentFlags(c.Flags())
	return frame.Completes(c, frame.Addresses)
}
