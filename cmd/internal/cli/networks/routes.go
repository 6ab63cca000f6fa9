package networks

import (
	"fmt"
	"io"
	"strconv"
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

// NewBGP is `gvlan bgp`.
func NewBGP() *cobra.Command {
	c := &cobra.Command{
		Use: "bgp", Short: "List this host's BGP sessions: with whom, how they stand, how many routes", Args: cobra.NoArgs,
		Long: "SENT are the blocks and addresses of this host's containers that the router was told, RECEIVED what it told, and\n" +
			"TAKEN those of them that are inside of --bgp-import. Below the table is what is wrong. FOR is how long a\n" +
			"session has been established, or has not.",
		Example: "  gvlan bgp\n  gvlan bgp --wide\n  gvlan bgp --json",
	}
	count := func(of func(api.BGPSession) int) func(api.BGPSession) string {
		return func(s api.BGPSession) string { return strconv.Itoa(of(s)) }
	}
	sessions := func(v api.BGPView) []api.BGPSession { return v.Sessions }
	return frame.ListingOf(c, frame.At[api.BGPView](api.BGPRoute), sessions, frame.List[api.BGPSession]{
		Name: func(s api.BGPSession) string { return s.Peer },
		Columns: func(now time.Time) []frame.Column[api.BGPSession] {
			return []frame.Column[api.BGPSession]{
				{Head: "PEER", Cell: func(s api.BGPSession) string { return s.Peer }},
				{Head: "AS", Cell: func(s api.BGPSession) string { return strconv.FormatUint(uint64(s.AS), 10) }},
				{Head: "STATE", Cell: func(s api.BGPSession) string { return s.State }},
				{Head: "FOR", Cell: func(s api.BGPSession) string { return terminal.Since(s.Since, now) }},
				{Head: "SENT", Cell: count(func(s api.BGPSession) int { return s.Announced })},
				{Head: "TAKEN", Cell: count(func(s api.BGPSession) int { return s.Accepted })},
				{Head: "RECEIVED", Wide: true, Cell: count(func(s api.BGPSession) int { return s.Received })},
				{Head: "PASSWORD", Wide: true, Cell: password},
			}
		},
		After: func(out io.Writer, all []api.BGPSession) error {
			for _, s := range all {
				if s.Wrong == "" {
					continue
				}
				if _, err := fmt.Fprintf(out, "\n%s: %s\n", s.Peer, s.Wrong); err != nil {
					return err
				}
			}
			return nil
		},
		Empty: "BGP is off on this host: --bgp-as and --bgp-peer of its agent say with which routers it speaks",
	})
}

func password(s api.BGPSession) string {
	if s.Password {
		return "yes"
	}
	return "no"
}
