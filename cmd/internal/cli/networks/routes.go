package networks

import (
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
)

// NewRoute is `gvlan route`.
func NewRoute() *cobra.Command {
	return frame.Group("route", "Look at this host's routes to containers of other hosts", newRouteList())
}

func newRouteList() *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Short: "List this host's routes to other hosts' containers: where they lead, why, from when", Args: cobra.NoArgs,
		Long: "Lists the routes that this host has, or should have, on networks that route (ipvlan l3 and l3s): one for each\n" +
			"block of addresses of which another host has most, one for each address of another host that is in none, what is\n" +
			"unreachable of this host's own blocks, and what routers told (--bgp-import). STATE says what keeps one away.",
		Example: "  gvlan route ls\n  gvlan route ls --wide\n  gvlan route ls --format '{{.Prefix}} {{.Via}}'",
	}
	return frame.Listing(c, frame.At[[]api.RouteView](api.RoutesRoute), frame.List[api.RouteView]{
		Name: func(v api.RouteView) string { return v.Prefix.String() },
		Columns: func(now time.Time) []frame.Column[api.RouteView] {
			return []frame.Column[api.RouteView]{
				{Head: "NETWORK", Cell: func(v api.RouteView) string { return v.Network }},
				{Head: "PREFIX", Cell: func(v api.RouteView) string { return v.Prefix.String() }},
				{Head: "VIA", Cell: via},
				{Head: "DEV", Cell: func(v api.RouteView) string { return v.Link }},
				{Head: "NODE", Cell: func(v api.RouteView) string { return v.Host }},
				{Head: "WHY", Cell: func(v api.RouteView) string { return v.Why }},
				{Head: "SINCE", Cell: func(v api.RouteView) string { return terminal.Since(v.Since, now) }},
				{Head: "STATE", Cell: state},
				{Head: "TABLE", Wide: true, Cell: func(v api.RouteView) string { return v.Table }},
				{Head: "NODE ID", Wide: true, Cell: func(v api.RouteView) string { return v.Node }},
			}
		},
		Empty: "this host has no routes to containers of other hosts: no network that routes has any there",
	})
}

func via(v api.RouteView) string {
	if !v.Via.IsValid() {
		return "unreachable"
	}
	return v.Via.String()
}

func state(v api.RouteView) string {
	if v.Wrong == "" {
		return "there"
	}
	return "missing: " + v.Wrong
}
