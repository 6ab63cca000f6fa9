package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
	"gvlan/driver"
	"gvlan/driver/trouble"
	"gvlan/ipam"
)

// suspectLook is how often a store that lost its past is looked at again.
const suspectLook = 2 * time.Second

// recovery is what an agent does about a store that lost its past, about a name
// that another install had, and about an eviction it slept through.
type recovery struct {
	node          string // this one
	session       *session.Session
	addresses     *ipam.Allocator
	driver        *driver.Driver
	peers         *gossip.Membership // nil with --gossip off
	past          past
	restartFailed bool // --restart-failed
	arrived       bool // this host has come from another store, with what it had there
	troubles      *trouble.Book
	log           *slog.Logger
}

// What recovery tries again every two seconds.
const (
	reasserting = "writing this node's leases into the store again"
	accepting   = "accepting the recovered store"
	takingAgain = "taking the addresses of this evicted node again"
	restarting  = "starting containers again whose start failed"
	settling    = "finding out whether this host is the node of its name"
)

// went notes how something went that is tried again.
func (rec *recovery) went(ctx context.Context, what string, err error) error {
	rec.troubles.Settle(ctx, trouble.Matter{What: what}, err)
	return err
}

// asserted is what a node has written its records into.
type asserted struct {
	epoch int64  // of the store: one that takes its place has another
	round string // of the gate
}

// reassert writes what this node holds into a store that lost its past, as soon
// as that is found here or anywhere, and says so to the others.
// Nothing new is given until somebody says `gvlan recover`: only a person knows
// whether every other node has done the same.
func (rec *recovery) reassert(ctx context.Context) error {
	var done asserted
	for store.Sleep(ctx, suspectLook) {
		why, now := rec.session.Trusted(), asserted{rec.session.Epoch(), rec.session.Round()}
		if !errors.Is(why, store.ErrSuspect) {
			done = asserted{}
			continue
		}
		if done != now {
			if _, err := rec.reassertOnce(ctx, now.round); rec.went(ctx, reasserting, err) != nil {
				continue
			}
			if rec.session.Epoch() != now.epoch {
				continue
			}
			done = now
			rec.log.Error("this node's leases are in the store again: no new address is given until `gvlan recover` is run on one host", "err", why)
		}
		if rec.session.Recovered() {
			_ = rec.went(ctx, accepting, rec.session.Accept(ctx))
		}
	}
	return nil
}

// reassertOnce writes what this node holds, and tells the others.
func (rec *recovery) reassertOnce(ctx context.Context, round string) ([]ipam.Conflict, error) {
	conflicts, err := rec.addresses.Reassert(ctx)
	if err != nil {
		return nil, err
	}
	return conflicts, rec.session.Reasserted(ctx, round)
}

// takeAgain takes, after an eviction, what is still free of what this node's
// containers have, and in a cluster that this host has just joined all of it.
func (rec *recovery) takeAgain(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-rec.session.Opened():
	}
	switch {
	case rec.session.WasEvicted():
		rec.log.Warn("this node was evicted while it was away: its containers' addresses are taken again where they are free")
	case rec.arrived:
		rec.log.Info("this host brings its networks and addresses along: they are written into the cluster's store")
	default:
		return nil
	}
	for {
		_, err := rec.addresses.Reassert(ctx)
		if err == nil {
			err = rec.past.saveReturned(rec.session.Returned(), rec.session.Cluster())
		}
		if rec.went(ctx, takingAgain, err) == nil {
			return nil
		}
		if !store.Sleep(ctx, suspectLook) {
			return nil
		}
	}
}

// startAgain starts the containers whose start failed while etcd was away,
// once each time it comes back, where --restart-failed asks for it: dockerd
// itself tries once and never again.
func (rec *recovery) startAgain(ctx context.Context) error {
	away := true
	for rec.restartFailed && store.Sleep(ctx, suspectLook) {
		trusted := rec.session.Trusted() == nil
		if trusted && away {
			if err := rec.driver.RestartFailed(ctx); rec.went(ctx, restarting, err) != nil {
				continue
			}
		}
		away = !trusted
	}
	return nil
}

// settleName decides whether an install that took another one's node name is
// that node. It is when nothing of the node is left, or when this host's engine
// has one of the node's endpoints, whose ids are random and of one engine. Any
// other case is left to `gvlan recover`, because a host that was copied would
// free what its elder's containers use.
func (rec *recovery) settleName(ctx context.Context) error {
	for store.Sleep(ctx, suspectLook) {
		if !errors.Is(rec.session.Trusted(), store.ErrForeign) {
			continue
		}
		ours, err := rec.isThatNode(ctx)
		if err == nil && ours {
			err = rec.session.Settle()
		}
		_ = rec.went(ctx, settling, err)
	}
	return nil
}

// isThatNode reports whether this host is certainly the node whose name it has.
func (rec *recovery) isThatNode(ctx context.Context) (bool, error) {
	endpoints, err := store.All[store.Endpoint](ctx, rec.session, store.NodeEndpointsSpan(rec.node))
	if err != nil {
		return false, err
	}
	here, err := rec.driver.EngineEndpoints(ctx)
	if err != nil {
		return false, err
	}
	for _, e := range endpoints {
		if here[e.Endpoint] {
			return true, nil
		}
	}
	if len(endpoints) > 0 {
		return false, nil
	}
	has, err := rec.hasLeases(ctx)
	return err == nil && !has, err
}

// errFound ends a scan that has found what it is for.
var errFound = errors.New("found")

// hasLeases reports whether the store has an address for the node whose name this
// host has.
func (rec *recovery) hasLeases(ctx context.Context) (bool, error) {
	_, err := rec.session.Scan(ctx, store.AllLeasesSpan(), store.Whole, func(page []store.Item) error {
		for _, it := range page {
			if !bytes.Contains(it.Value, []byte(rec.node)) {
				continue
			}
			l, err := store.Decode[store.Lease](it)
			if err != nil {
				return err
			}
			if l.Node == rec.node && l.State == store.Leased {
				return errFound
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// register adds the route of `gvlan recover` to the server.
func (rec *recovery) register(server *api.Server) {
	server.Handle("POST "+api.RecoverRoute, rec.answer)
}

// answer is `gvlan recover` with the nodes to go on without.
func (rec *recovery) answer(q *http.Request) (any, error) {
	return rec.recover(q.Context(), q.URL.Query()["without"])
}

// recover takes the store as it is for the truth of the whole cluster, once
// every known node has written what it holds; or this install for the node
// whose name it took.
func (rec *recovery) recover(ctx context.Context, without []string) (api.Recovered, error) {
	why := rec.session.Trusted()
	if errors.Is(why, store.ErrForeign) {
		return api.Recovered{Cluster: rec.session.Cluster()}, rec.session.Settle()
	}
	if !errors.Is(why, store.ErrSuspect) {
		if why == nil {
			why = errors.New("the store is trusted")
		}
		return api.Recovered{}, fmt.Errorf("nothing to recover: %w", why)
	}
	round := rec.session.Round()
	conflicts, err := rec.reassertOnce(ctx, round)
	if err != nil {
		return api.Recovered{}, err
	}
	r := api.Recovered{Cluster: rec.session.Cluster()}
	for _, c := range conflicts {
		r.Conflicts = append(r.Conflicts, fmt.Sprintf("%s of endpoint %s: %s", c.Address, c.Endpoint, c.Holder))
	}
	if err := rec.muster(ctx, round, &r); err != nil {
		return r, err
	}
	for _, name := range without {
		if !slices.Contains(r.Waiting, name) && !slices.Contains(r.Nodes, name) {
			return r, fmt.Errorf("--without %s: no node is called so: want some of %s", name, strings.Join(slices.Concat(r.Nodes, r.Waiting), ", "))
		}
		r.Waiting = slices.DeleteFunc(r.Waiting, func(n string) bool { return n == name })
		r.Absent = slices.DeleteFunc(r.Absent, func(n string) bool { return n == name })
	}
	if len(r.Waiting) > 0 {
		return r, nil
	}
	if err := rec.session.OpenGate(ctx); err != nil {
		return r, err
	}
	if !rec.session.Recovered() {
		return r, nil // another node had found the loss
	}
	return r, rec.session.Accept(ctx)
}

// muster says which nodes of the cluster have written what they hold again, and
// which have not. A store that was lost whole knows only those that are back;
// the gossip remembers the others.
func (rec *recovery) muster(ctx context.Context, round string, r *api.Recovered) error {
	back, live := map[string]bool{}, map[string]bool{}
	all := map[string]bool{rec.node: true}
	for span, take := range map[store.Span]func(store.Item) error{
		store.ReassertedSpan(): func(it store.Item) error {
			done, err := store.Decode[store.Reasserted](it)
			back[done.Node] = back[done.Node] || done.Round == round
			return err
		},
		store.EpochsSpan(): func(it store.Item) error {
			epoch, err := store.Decode[store.Epoch](it)
			all[store.NameOf(it.Key)] = !epoch.Evicted
			return err
		},
		store.LiveSpan(): func(it store.Item) error {
			live[store.NameOf(it.Key)] = true
			return nil
		},
	} {
		items, _, err := rec.session.List(ctx, span)
		for _, it := range items {
			err = errors.Join(err, take(it))
		}
		if err != nil {
			return fmt.Errorf("see which nodes have written what they hold: %w", err)
		}
	}
	if rec.peers != nil {
		for _, m := range rec.peers.Members() {
			if _, known := all[m.Node]; !known {
				all[m.Node] = true
			}
		}
	}
	for node, counts := range all {
		switch {
		case !counts:
		case back[node]:
			r.Nodes = append(r.Nodes, node)
		default:
			r.Waiting = append(r.Waiting, node)
			if !live[node] {
				r.Absent = append(r.Absent, node)
			}
		}
	}
	slices.Sort(r.Nodes)
	slices.Sort(r.Waiting)
	slices.Sort(r.Absent)
	return nil
}
