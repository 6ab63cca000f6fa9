package evict

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/driver/trouble"
)

// endEvery is how long a node waits before it looks again at quarantines whose
// rest is over, on average: the nodes of a cluster rarely do at the same moment.
const endEvery = 10 * time.Second

// Quarantines ends the quarantine of evicted nodes' addresses: once their rest
// is over, which an etcd lease says and no clock, the LAN is asked for each of
// them, and those that nobody answers for are free. Every node runs one; the
// first that can ask at an address's network does it, and two that do it at
// once do no harm.
type Quarantines struct {
	KV     store.KV
	Grant  Grant
	Ask    Ask
	Events events.Teller // is told of addresses that are free; never nil
	Log    *slog.Logger
}

// Run ends quarantines until ctx ends.
func (q *Quarantines) Run(ctx context.Context) error {
	var follow sync.WaitGroup
	defer follow.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	quarantines := store.NewTable[store.Quarantine](store.QuarantinesSpan(), func(err error) {
		q.Log.Warn("record of a quarantine cannot be read: what it said before stands", "err", err)
	})
	follow.Go(func() { failed <- quarantines.Run(ctx, q.KV) })
	troubles, adopted := trouble.NewBook(time.Now, q.Log), false
	for {
		select {
		case err := <-failed:
			return err
		case <-time.After(endEvery/2 + rand.N(endEvery)):
		}
		if !adopted {
			err := q.adopt(ctx)
			adopted = err == nil
			troubles.Settle(ctx, trouble.Matter{What: "looking for addresses that an older gvlan put into quarantine"}, err, store.ErrUnavailable)
		}
		for _, over := range over(quarantines) {
			about := trouble.Matter{What: "ending the quarantine of " + cmp.Or(over.Host, over.Node)}
			troubles.Settle(ctx, about, q.end(ctx, over), store.ErrUnavailable)
		}
	}
}

// adopt begins the rest of addresses in quarantine that no Quarantine tells of:
// an older gvlan put them there, and agents that ended it by a clock.
func (q *Quarantines) adopt(ctx context.Context) error {
	since := map[string]int64{} // by node
	err := q.eachResting(ctx, string(store.Quarantined), func(_ store.Item, l store.Lease) error {
		since[l.Node] = max(since[l.Node], l.Since)
		return nil
	})
	if err != nil {
		return err
	}
	for _, node := range slices.Sorted(maps.Keys(since)) {
		if _, err := q.KV.Get(ctx, store.QuarantineKey(node)); err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("read a quarantine: %w", err)
		}
		if err := q.rest(ctx, store.Quarantine{Node: node, Since: since[node]}, store.QuarantineKey(node)); err != nil {
			return fmt.Errorf("begin a quarantine: %w", err)
		}
	}
	return nil
}

// over lists the quarantines whose rest is over. Both keys of a node hold the
// same record.
func over(quarantines *store.Table[store.Quarantine]) (all []store.Quarantine) {
	rows, _ := quarantines.Rows()
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		of := rows[key].Record
		_, rests := rows[store.RestKey(of.Node)]
		if key == store.QuarantineKey(of.Node) && !rests {
			all = append(all, of)
		}
	}
	return all
}

// resting is one address in quarantine.
type resting struct {
	item  store.Item
	lease store.Lease
	asked store.Endpoint // as Ask takes it
}

// end asks the LAN for the node's addresses that are still in quarantine, frees
// those that are silent, and lets the others rest once more.
func (q *Quarantines) end(ctx context.Context, of store.Quarantine) error {
	all, err := q.restingOf(ctx, of.Node)
	if err != nil {
		return err
	}
	silent, answering, left, err := q.ask(ctx, all)
	if err != nil {
		return fmt.Errorf("ask the LAN for its addresses: %w", err)
	}
	freed, err := q.free(ctx, silent)
	if freed > 0 {
		q.Log.Info("quarantine is over: addresses are free again", "node", cmp.Or(of.Host, of.Node), "addresses", freed)
	}
	switch {
	case err != nil:
		return err
	case len(answering) > 0:
		q.Log.Warn("addresses of an evicted node still answer on the LAN: they stay in quarantine", "node", cmp.Or(of.Host, of.Node), "addresses", list(answering))
		return q.rest(ctx, of, store.RestKey(of.Node))
	case len(left) > 0:
		return nil // another host can ask for them
	}
	return q.forget(ctx, of)
}

// restingOf lists a node's addresses in quarantine.
func (q *Quarantines) restingOf(ctx context.Context, node string) (all []resting, err error) {
	err = q.eachResting(ctx, node, func(it store.Item, l store.Lease) error {
		if l.Node != node {
			return nil
		}
		_, addr, err := store.LeaseOf(it.Key)
		if err != nil {
			return err
		}
		e := store.Endpoint{Endpoint: addr.String(), Network: l.Network}
		if prefix := netip.PrefixFrom(addr, addr.BitLen()).String(); addr.Is4() {
			e.IPv4 = prefix
		} else {
			e.IPv6 = prefix
		}
		all = append(all, resting{it, l, e})
		return nil
	})
	return all, err
}

// eachResting shows the addresses in quarantine whose records hold a text, one
// after the other: of all the leases there are it keeps none.
func (q *Quarantines) eachResting(ctx context.Context, text string, found func(store.Item, store.Lease) error) error {
	_, err := q.KV.Scan(ctx, store.AllLeasesSpan(), store.Whole, func(page []store.Item) error {
		for _, it := range page {
			if !bytes.Contains(it.Value, []byte(text)) {
				continue
			}
			l, err := store.Decode[store.Lease](it)
			if err != nil || l.State != store.Quarantined {
				continue
			}
			if err := found(it, l); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for addresses in quarantine: %w", err)
	}
	return nil
}

// ask sorts addresses by what the LAN says. What cannot be asked for here is
// left to a connected host that has a parent of the network; where none has,
// nobody can be harmed in hearing of it, and it counts as silent.
func (q *Quarantines) ask(ctx context.Context, all []resting) (silent []resting, answering, left []store.Endpoint, err error) {
	var endpoints []store.Endpoint
	for _, r := range all {
		endpoints = append(endpoints, r.asked)
	}
	answering, unasked, err := q.Ask(ctx, endpoints)
	if err != nil {
		return nil, nil, nil, err
	}
	able := map[string]bool{}
	if len(unasked) > 0 {
		if able, err = q.parented(ctx); err != nil {
			return nil, nil, nil, err
		}
	}
	for _, r := range all {
		is := func(e store.Endpoint) bool { return e.Endpoint == r.asked.Endpoint && e.Network == r.asked.Network }
		switch {
		case slices.ContainsFunc(answering, is):
		case slices.ContainsFunc(unasked, is) && able[r.asked.Network]:
			left = append(left, r.asked)
		default:
			silent = append(silent, r)
		}
	}
	return silent, answering, left, nil
}

// parented are the networks that a connected host has a parent for.
func (q *Quarantines) parented(ctx context.Context) (map[string]bool, error) {
	nodes, _, err := q.KV.List(ctx, store.NodesSpan())
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	live, _, err := q.KV.List(ctx, store.LiveSpan())
	if err != nil {
		return nil, fmt.Errorf("list the connected nodes: %w", err)
	}
	able := map[string]bool{}
	for _, it := range nodes {
		node, err := store.Decode[store.Node](it)
		connected := slices.ContainsFunc(live, func(l store.Item) bool { return store.NameOf(l.Key) == node.Node })
		if err != nil || !connected {
			continue
		}
		for _, n := range node.Networks {
			able[n.UUID] = able[n.UUID] || n.Parent != ""
		}
	}
	return able, nil
}

// free deletes the records that are still as they were read, and tells of each
// address that is free then.
func (q *Quarantines) free(ctx context.Context, all []resting) (freed int, err error) {
	called := map[string]string(nil) // networks, by uuid
	for batch := range slices.Chunk(all, batchSize) {
		var txn store.Txn
		for _, r := range batch {
			txn.Then = append(txn.Then, store.Op{Kind: store.OpNested, Nested: &store.Txn{
				If:   []store.Cond{store.Unchanged(r.item.Key, r.item.Modified)},
				Then: []store.Op{store.Delete(r.item.Key)},
			}})
		}
		res, err := q.KV.Commit(ctx, txn)
		if err != nil {
			return freed, fmt.Errorf("free addresses: %w", err)
		}
		if called == nil {
			called = q.networks(ctx)
		}
		for i, nested := range res.Nested {
			if nested.Done {
				freed++
				q.tellFree(batch[i], called)
			}
		}
	}
	return freed, nil
}

// tellFree tells that nobody has an address any more.
func (q *Quarantines) tellFree(r resting, called map[string]string) {
	segment, addr, err := store.LeaseOf(r.item.Key)
	if err == nil { // it was one when it was asked for
		q.Events.Tell(events.Event{
			Kind: events.Released, Node: r.lease.Node, Network: called[r.lease.Network], Segment: segment, Address: addr,
			Endpoint: r.lease.Endpoint, Text: "its host was evicted",
		})
	}
}

// networks are what networks are called, by uuid; where they cannot be read, nothing.
func (q *Quarantines) networks(ctx context.Context) map[string]string {
	called := map[string]string{}
	items, _, err := q.KV.List(ctx, store.NetworksSpan())
	if err != nil {
		return called
	}
	for _, it := range items {
		if n, err := store.Decode[store.Network](it); err == nil {
			called[n.UUID] = n.Name
		}
	}
	return called
}

// rest lets a node's addresses rest, unless a key says that another node did.
func (q *Quarantines) rest(ctx context.Context, of store.Quarantine, unless string) error {
	ops, err := Rest(ctx, q.Grant, of)
	if err != nil {
		return err
	}
	_, err = q.KV.Commit(ctx, store.Txn{If: []store.Cond{store.Absent(unless)}, Then: ops})
	return err
}

// forget ends the quarantine itself, unless a new eviction began another.
func (q *Quarantines) forget(ctx context.Context, of store.Quarantine) error {
	it, err := q.KV.Get(ctx, store.QuarantineKey(of.Node))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = q.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(it.Key, it.Modified), store.Absent(store.RestKey(of.Node))},
		Then: []store.Op{store.Delete(it.Key)},
	})
	return err
}
