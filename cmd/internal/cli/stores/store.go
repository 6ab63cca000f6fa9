// Package stores is what makes a host one of a cluster, and looks after the
// store that the cluster shares: init, join, leave, token, ca, store, backup,
// restore and recover.
package stores

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// New is `gvlan store`.
func New() *cobra.Command {
	return frame.Group("store", "The store of this cluster: which hosts keep it", newStoreList(), newStoreSize(), newStoreRecover())
}

// place is a row of `gvlan store ls`: a member, or a host without one.
type place struct {
	Name    string `json:"name"` // of the host, as people call it
	Node    string `json:"node"`
	Role    string `json:"role"` // "" without a member
	Address string `json:"address"`
	Lag     string `json:"lag"`
	Size    string `json:"size"`
	Why     string `json:"why"`
}

func newStoreList() *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Short: "List the members of the store, and why other hosts are none", Args: cobra.NoArgs,
		Long: "leader and voter vote: a majority of them has to answer. A learner has a live copy and does not vote.\n" +
			"BEHIND counts what a member has not applied yet.",
		Example: `  gvlan store ls
  gvlan store ls -q
  gvlan store ls --format '{{.Name}} {{.Role}}'`,
	}
	var shown api.StoreView
	places := func(v api.StoreView) []place {
		shown = v
		return placesOf(v)
	}
	return frame.ListingOf(c, frame.At[api.StoreView](api.StoreRoute), places, frame.List[place]{
		Name: func(p place) string { return p.Name },
		Columns: func(time.Time) []frame.Column[place] {
			return []frame.Column[place]{
				{Head: "NODE", Cell: func(p place) string { return p.Name }},
				{Head: "ROLE", Cell: func(p place) string { return p.Role }},
				{Head: "ADDRESS", Cell: func(p place) string { return p.Address }},
				{Head: "BEHIND", Cell: func(p place) string { return p.Lag }},
				{Head: "SIZE", Cell: func(p place) string { return p.Size }},
				{Head: "NOTE", Cell: func(p place) string { return p.Why }},
				{Head: "NODE ID", Wide: true, Cell: func(p place) string { return p.Node }},
			}
		},
		After: func(out io.Writer, _ []place) error {
			if !shown.AsOf.IsZero() {
				fmt.Fprintf(out, "\nthe store does not answer this host: these are the members it saw last, %s ago\n", terminal.Since(shown.AsOf, time.Now()))
			}
			terminal.InCells(&shown.Warnings)
			for _, w := range shown.Warnings {
				if _, err := fmt.Fprintf(out, "warning: %s\n", w); err != nil {
					return err
				}
			}
			return nil
		},
		Empty: "this host is solo: its store is its own, and gvlan init opens it to others",
	})
}

// placesOf are members first, then the hosts without one.
func placesOf(v api.StoreView) (all []place) {
	for _, m := range v.Members {
		all = append(all, place{
			Name: cmp.Or(m.Host, m.Node), Node: m.Node, Role: m.Role, Address: m.Address,
			Lag: strconv.FormatUint(m.Lag, 10), Size: sizeOf(m.Size), Why: m.Why,
		})
	}
	for _, h := range v.Hosts {
		all = append(all, place{Name: cmp.Or(h.Host, h.Node), Node: h.Node, Why: h.Why})
	}
	return all
}

func newStoreSize() *cobra.Command {
	c := &cobra.Command{
		Use: "size 1|3|5|auto", Short: "Say how many members vote; auto is 1 for up to two hosts, else 3", Args: cobra.ExactArgs(1),
		Long: "Members come and go one at a time, while a majority answers: gvlan store ls shows how far that is.",
		Example: `  gvlan store size 5
  gvlan store size auto`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []cobra.Completion{"1", "3", "5", "auto"}, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: frame.WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
			voters, known := map[string]int{"1": 1, "3": 3, "5": 5, "auto": 0}[args[0]]
			if !known {
				return frame.Misusef("size %q: give 1, 3 or 5, or auto", args[0])
			}
			_, err := frame.Answered(c, func() (struct{}, error) {
				return struct{}{}, client.Send(c.Context(), http.MethodPost, api.StoreSizeRoute, api.StoreSize{Voters: voters}, &struct{}{})
			})
			return err
		}),
	}
	config.AddAgentFlags(c.Flags())
	return c
}

// sizeOf is a number of bytes for people.
func sizeOf(bytes int64) string {
	const mega = 1 << 20
	if bytes <= 0 {
		return ""
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/mega)
}
