package answer

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/driver/visible"
	"gvlan/ipam/conflict"
	"gvlan/ipam/pool"
)

// Conflicts answers `gvlan conflict`.
type Conflicts struct {
	Roster  Roster
	Foreign *conflict.Conflicts
	Leases  Leases // knows which network an address is of
}

// Register adds the routes of `gvlan conflict` to the server.
func (a Conflicts) Register(server *api.Server) {
	server.Handle("GET "+api.ConflictsRoute, func(r *http.Request) (any, error) { return a.all(r.Context()) })
	server.Handle("DELETE "+api.ConflictsRoute, a.clear)
}

// all are the free addresses that are not given, and the containers' that somebody
// else has too.
func (a Conflicts) all(ctx context.Context) ([]api.ConflictView, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	conflicts, err := a.now(ctx)
	if err != nil {
		return nil, err
	}
	known, err := a.Leases.survey(ctx)
	if err != nil {
		return nil, err
	}
	called, views := api.CallNodes(a.Roster.Names()), []api.ConflictView{}
	for _, c := range conflicts {
		views = append(views, api.ConflictView{
			Address: c.Address, Segment: c.Segment, Network: known.Networks.NameOf(c.Segment, c.Address), Container: withHost(c, called), MAC: c.MAC, Vendor: c.Vendor, Node: c.Node, Host: called(c.Node),
			Since: time.Unix(c.Since, 0), Seen: time.Unix(c.Seen, 0),
		})
	}
	slices.SortFunc(views, func(x, y api.ConflictView) int {
		return cmp.Or(cmp.Compare(x.Segment, y.Segment), x.Address.Compare(y.Address), cmp.Compare(x.MAC, y.MAC), cmp.Compare(x.Host, y.Host))
	})
	return views, nil
}

// now are the conflicts as the store has them: what this host follows may be behind.
func (a Conflicts) now(ctx context.Context) ([]store.Conflict, error) {
	return store.All[store.Conflict](ctx, a.Leases.KV, store.ConflictsSpan())
}

// withHost is the container that has an address by right, and its host.
func withHost(c store.Conflict, called func(node string) string) string {
	if c.Endpoint == "" {
		return ""
	}
	return cmp.Or(c.Container, visible.ID(c.Endpoint)) + " on " + called(c.Holder)
}

// clear ends the conflicts over an address, or all, and answers with the addresses.
func (a Conflicts) clear(r *http.Request) (any, error) {
	query := r.URL.Query()
	var only netip.Addr
	if text := query.Get("address"); text != "" {
		var err error
		if only, err = addressIn(text); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), etcdAnswer)
	defer cancel()
	conflicts, err := a.now(ctx)
	if err != nil {
		return nil, err
	}
	cleared := []netip.Addr{}
	called := api.CallNodes(a.Roster.Names())
	var held error
	for _, c := range conflicts {
		if c.Endpoint != "" && only.IsValid() && c.Address == only {
			held = fmt.Errorf("container %s has address %s by right, and MAC %s uses it too: that ends by itself when one of the two lets go of it", withHost(c, called), c.Address, c.MAC)
		}
		if c.Endpoint != "" || only.IsValid() && c.Address != only || query.Get("segment") != "" && query.Get("segment") != c.Segment {
			continue
		}
		done, err := a.Foreign.Clear(ctx, pool.At(c.Segment, c.Address), "cleared by hand (gvlan conflict clear)")
		if err != nil {
			return nil, err
		}
		if done {
			cleared = append(cleared, c.Address)
		}
	}
	if held != nil && len(cleared) == 0 {
		return nil, held
	}
	return cleared, nil
}
