package answer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/driver/visible"
)

// Events answers gvlan events.
type Events struct {
	Recorder *events.Recorder
	KV       store.KV
	Roster   Roster
	Records  *Records
}

// Register adds the routes of the events to the server.
func (a Events) Register(server *api.Server) {
	server.Handle("GET "+api.EventsRoute, a.list)
	server.Stream("GET "+api.EventsFollowRoute, a.follow)
}

// alone is what is said where the store does not answer.
const alone = "etcd does not answer: these are this host's own events"

func (a Events) list(r *http.Request) (any, error) {
	filter, err := a.filterIn(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), etcdAnswer)
	defer cancel()
	all, err := a.Recorder.Read(ctx, a.KV, filter)
	answer := api.Events{Events: a.shown(all)}
	switch {
	case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
		answer.Alone = alone
	case err != nil:
		return nil, err
	}
	return answer, nil
}

// filterIn is what a request asks for.
func (a Events) filterIn(r *http.Request) (f events.Filter, err error) {
	wanted, err := api.EventsIn(r.URL.Query())
	if err != nil {
		return f, api.Refuse(err)
	}
	f = events.Filter{Network: wanted.Network, Since: wanted.Since, Limit: wanted.Limit}
	for _, kind := range wanted.Kinds {
		if !slices.Contains(events.Kinds(), events.Kind(kind)) {
			return f, api.Refuse(fmt.Errorf("no event is of kind %q: there are %s", kind, strings.Trim(fmt.Sprint(events.Kinds()), "[]")))
		}
		f.Kinds = append(f.Kinds, events.Kind(kind))
	}
	if addr, err := netip.ParseAddr(wanted.Of); err == nil {
		f.Address = addr.Unmap()
	} else if mac, err := net.ParseMAC(wanted.Of); err == nil {
		f.MAC = mac.String()
	} else {
		f.Container = wanted.Of
	}
	if wanted.Node != "" {
		f.Nodes, err = api.NodesCalled(a.Roster.Names(), wanted.Node)
	}
	return f, err
}

// shown are events as people see them.
func (a Events) shown(all []events.Event) []api.Event {
	called := api.CallNodes(a.Roster.Names())
	names := map[string]string(nil) // of containers, by endpoint
	shown := make([]api.Event, len(all))
	for i, e := range all {
		if e.Container == "" && e.Endpoint != "" {
			if names == nil {
				names = a.containers()
			}
			e.Container = names[e.Endpoint]
		}
		shown[i] = api.Event{
			Time: e.Time, Kind: string(e.Kind), Node: e.Node, Host: called(e.Node), Network: e.Network, Segment: e.Segment,
			MAC: e.MAC, Container: e.Container, Endpoint: e.Endpoint, Text: e.Text,
		}
		if e.Address.IsValid() {
			shown[i].Address = e.Address.String()
		}
	}
	return shown
}

// containers are the names of those that have an endpoint now, by as much of its
// id as an event has.
func (a Events) containers() map[string]string {
	rows, _ := a.Records.Endpoints.Rows()
	names := make(map[string]string, len(rows))
	for _, row := range rows {
		names[visible.ID(row.Record.Endpoint)] = row.Record.Container.Name
	}
	return names
}

func aloneIf(away bool) string {
	if away {
		return alone
	}
	return ""
}

// freshLook is how often a follower is told whether the store answers.
const freshLook = 2 * time.Second

func (a Events) follow(r *http.Request, tell func(any) error) error {
	filter, err := a.filterIn(r)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(r.Context())
	arrived := make(chan []events.Event)
	group.Go(func() error {
		return a.Recorder.Follow(ctx, a.KV, filter, func(all []events.Event) error {
			select {
			case <-ctx.Done():
			case arrived <- all:
			}
			return nil
		})
	})
	group.Go(func() error { return a.pass(ctx, arrived, tell) })
	if err := group.Wait(); r.Context().Err() == nil {
		return err
	}
	return nil
}

// pass tells of events that arrive, and whether others could.
func (a Events) pass(ctx context.Context, arrived <-chan []events.Event, tell func(any) error) error {
	tick := time.NewTicker(freshLook)
	defer tick.Stop()
	for away := false; ; {
		if answers := a.Roster.Directory.Known().Fresh; answers == away {
			away = !answers
			if err := tell(api.EventTold{Alone: aloneIf(away)}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case all := <-arrived:
			for _, e := range a.shown(all) {
				if err := tell(api.EventTold{Event: &e}); err != nil {
					return err
				}
			}
		}
	}
}
