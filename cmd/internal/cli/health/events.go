package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster/events"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/pool"
)

// newest is how many events are listed unless more are asked for.
const newest = 100

// NewEvents is `gvlan events`.
func NewEvents() *cobra.Command {
	var kinds []string
	var since, network, node string
	var limit int
	c := &cobra.Command{
		Use:   "events [CONTAINER|ADDRESS|MAC]",
		Short: "List what happened lately in the cluster, or follow it",
		Long: "Lists what happened in the last day on any host: addresses that containers were given and let go of, conflicts,\n" +
			"evictions, networks made and removed, hosts that came and went, members of the store. The order on one host is\n" +
			"that in which things happened; between hosts it is as good as their clocks. While etcd does not answer, this\n" +
			"host's own events are shown.\n\nKinds: " + kindLines(),
		Example: "  gvlan events\n  gvlan events --follow\n  gvlan events --since 1h --kind given,released web\n  gvlan events 192.168.1.130\n  gvlan events --node h2 --json",
		Args:    cobra.MaximumNArgs(1),
	}
	wanted := func(args []string) (w api.EventsWanted, err error) {
		w = api.EventsWanted{Network: network, Node: node, Kinds: kinds, Limit: limit}
		if len(args) > 0 {
			w.Of = args[0]
		}
		for _, kind := range kinds {
			if !slices.Contains(kindNames(), kind) {
				return w, frame.Misusef("no event is of kind %q%s", kind, meant(kind))
			}
		}
		if limit < 0 {
			return w, frame.Misusef("--limit %d: give a number of events, 0 for all", limit)
		}
		if w.Since, err = api.SinceIn(since, time.Now()); err != nil {
			return w, frame.Misusef("--since %w", err)
		}
		return w, nil
	}
	ask := func(c *cobra.Command, client *api.Client, args []string) ([]api.Event, error) {
		w, err := wanted(args)
		if err != nil {
			return nil, err
		}
		var all api.Events
		if err := client.Get(c.Context(), w.At(api.EventsRoute), &all); err != nil {
			return nil, err
		}
		if all.Alone != "" {
			fmt.Fprintln(c.ErrOrStderr(), all.Alone)
		}
		if limit > 0 && len(all.Events) == limit && !c.Flags().Changed("limit") {
			fmt.Fprintf(c.ErrOrStderr(), "the newest %d: --limit 0 lists all\n", limit)
		}
		return all.Events, nil
	}
	follow := func(c *cobra.Command, client *api.Client, args []string, each func(api.Event) error) error {
		w, err := wanted(args)
		if err != nil {
			return err
		}
		alone := false
		return api.Follow(c.Context(), client, w.At(api.EventsFollowRoute), func(told api.EventTold) error {
			switch {
			case told.Event != nil:
				return each(*told.Event)
			case told.Alone != "":
				alone = true
				fmt.Fprintln(c.ErrOrStderr(), told.Alone)
			case alone:
				alone = false
				fmt.Fprintln(c.ErrOrStderr(), "etcd answers again: events of every host")
			}
			return nil
		})
	}
	frame.Following(c, ask, follow, frame.List[api.Event]{Name: api.Event.Subject, Columns: eventColumns, Empty: "nothing happened"}, eventLine)
	c.Flags().StringSliceVar(&kinds, "kind", nil, "only of these `KIND,...`")
	c.Flags().StringVar(&since, "since", "", "only from `TIME` on: a duration as 1h30m, a time as 15:04 or 2027-01-02T15:04:05Z")
	c.Flags().StringVar(&network, "network", "", "only of the `NETWORK`")
	c.Flags().StringVar(&node, "node", "", "only of the `NODE`, by its host's name or its own")
	c.Flags().IntVarP(&limit, "limit", "n", newest, "the newest `N` only; 0: all")
	frame.CompletesWords(c, "kind", kindNames()...)
	frame.CompletesFlag(c, "network", frame.Networks)
	frame.CompletesFlag(c, "node", frame.Nodes)
	return frame.Completes(c, frame.Holders)
}

// kindLines are the kinds, in lines of a help.
func kindLines() string {
	names := kindNames()
	half := len(names) / 2
	return strings.Join(names[:half], ", ") + ",\n" + strings.Join(names[half:], ", ")
}

func kindNames() (names []string) {
	for _, kind := range events.Kinds() {
		names = append(names, string(kind))
	}
	return names
}

// meant ends a sentence about a kind that is none.
func meant(kind string) string {
	if near := pool.Nearest(kind, kindNames()); near != "" {
		return fmt.Sprintf("; did you mean %s?", near)
	}
	return ": there are " + strings.Join(kindNames(), ", ")
}

func eventColumns(now time.Time) []frame.Column[api.Event] {
	return []frame.Column[api.Event]{
		{Head: "TIME", Cell: func(e api.Event) string { return terminal.Clock(e.Time, now) }},
		{Head: "NODE", Cell: func(e api.Event) string { return e.Host }},
		{Head: "EVENT", Cell: func(e api.Event) string { return e.Kind }},
		{Head: "WHAT", Cell: api.Event.What},
		{Head: "MAC", Wide: true, Cell: func(e api.Event) string { return e.MAC }},
		{Head: "ENDPOINT", Wide: true, Cell: func(e api.Event) string { return e.Endpoint }},
		{Head: "NODE ID", Wide: true, Cell: func(e api.Event) string { return e.Node }},
	}
}

// eventLine is an event that is followed.
func eventLine(e api.Event) string {
	return fmt.Sprintf("%s   %-10s   %-15s   %s", e.Time.Local().Format(time.TimeOnly), e.Host, e.Kind, e.What())
}
