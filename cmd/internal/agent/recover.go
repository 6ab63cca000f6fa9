package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
)

// answerRecover is `gvlan recover` with the nodes to go on without.
func (p *parts) answerRecover(r *http.Request) (any, error) {
	return p.recover(r.Context(), r.URL.Query()["without"])
}

// recover takes the store as it is for the truth of the whole cluster, once
// every known node has written what it holds; or this install for the node
// whose name it took.
func (p *parts) recover(ctx context.Context, without []string) (api.Recovered, error) {
	why := p.session.Trusted()
	if errors.Is(why, store.ErrForeign) {
		return api.Recovered{Cluster: p.session.Cluster()}, p.session.Settle()
	}
	if !errors.Is(why, store.ErrSuspect) {
		if why == nil {
			why = errors.New("the store is trusted")
		}
		return api.Recovered{}, fmt.Errorf("nothing to recover: %w", why)
	}
	round := p.session.Round()
	conflicts, err := p.reassertOnce(ctx, round)
	if err != nil {
		return api.Recovered{}, err
	}
	r := api.Recovered{Cluster: p.session.Cluster()}
	for _, c := range conflicts {
		r.Conflicts = append(r.Conflicts, fmt.Sprintf("%s of endpoint %s: %s", c.Address, c.Endpoint, c.Holder))
	}
	if err := p.muster(ctx, round, &r); err != nil {
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
	if err := p.session.OpenGate(ctx); err != nil {
		return r, err
	}
	if !p.session.Recovered() {
		return r, nil // another node had found the loss
	}
	return r, p.session.Accept(ctx)
}

// muster says which nodes of the cluster have written what they hold again, and
// which have not. A store that was lost whole knows only those that are back;
// the gossip remembers the others.
func (p *parts) muster(ctx context.Context, round string, r *api.Recovered) error {
	back, live := map[string]bool{}, map[string]bool{}
	all := map[string]bool{p.self.Node: true}
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
		items, _, err := p.session.List(ctx, span)
		for _, it := range items {
			err = errors.Join(err, take(it))
		}
		if err != nil {
			return fmt.Errorf("see which nodes have written what they hold: %w", err)
		}
	}
	if p.gossip.membership != nil {
		for _, m := range p.gossip.membership.Members() {
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
