package leases

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/facts"
)

// NewPool is `gvlan pool`.
func NewPool() *cobra.Command {
	return frame.Group("pool", "Look at how full the networks' subnets are", newPoolList())
}

func newPoolList() *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Short: "List each network's subnets: how many addresses are used and free, and when they are full", Args: cobra.NoArgs,
		Long: "Lists the subnets of every network, with counts of the addresses that containers are given without asking for one:\n" +
			"those of --ip-range and the ranges that were added, or else of the subnet. RESTING are those that a container left\n" +
			"a moment ago, or a host that was evicted; RESERVED those of gateways, --aux-address, exclude=, gvlan reserve and\n" +
			"hosts. FULL IN says when a subnet is full if it goes on as in the last day; a dash: never, or too little is known.",
		Example: "  gvlan pool ls\n  gvlan pool ls --wide\n  gvlan pool ls --format '{{.Subnet}} {{.Free}}'",
	}
	return frame.Listing(c, frame.At[[]api.PoolView](api.PoolsRoute), poolList())
}

// poolList is how they are shown.
func poolList() frame.List[api.PoolView] {
	return frame.List[api.PoolView]{
		Name: func(v api.PoolView) string { return v.Subnet.String() },
		Columns: func(now time.Time) []frame.Column[api.PoolView] {
			return []frame.Column[api.PoolView]{
				{Head: "NETWORK", Cell: func(v api.PoolView) string { return v.Network }},
				{Head: "SUBNET", Cell: func(v api.PoolView) string { return v.Subnet.String() }},
				{Head: "SIZE", Cell: func(v api.PoolView) string { return facts.Many(v.Size) }},
				{Head: "USED", Cell: func(v api.PoolView) string { return facts.Many(v.Used) }},
				{Head: "FREE", Cell: func(v api.PoolView) string { return facts.Many(v.Free) }},
				{Head: "RESTING", Cell: func(v api.PoolView) string { return facts.Many(v.Resting) }},
				{Head: "RESERVED", Cell: func(v api.PoolView) string { return facts.Many(v.Reserved) }},
				{Head: "FULL IN", Cell: func(v api.PoolView) string { return facts.FullIn(v, now) }},
				{Head: "HOSTS", Wide: true, Cell: facts.ByHost},
				{Head: "RANGES", Wide: true, Cell: func(v api.PoolView) string { return strings.Join(v.Ranges, ", ") }},
				{Head: "BESIDE", Wide: true, Cell: func(v api.PoolView) string { return facts.Many(float64(v.Beside)) }},
				{Head: "EXCLUDED", Wide: true, Cell: func(v api.PoolView) string { return strings.Join(v.Excluded, ", ") }},
				{Head: "SEGMENT", Wide: true, Cell: func(v api.PoolView) string { return v.Segment }},
				{Head: "ONLY ON", Wide: true, Cell: func(v api.PoolView) string { return v.Host }},
			}
		},
		After: func(out io.Writer, views []api.PoolView) error {
			if len(views) == 0 {
				return nil
			}
			return printAge(out, views[0].AsOf, time.Now())
		},
		Empty: "there are no networks",
	}
}
