package members

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"gvlan/cluster/store"
)

// ErrSize: a cluster's own store has 1, 3 or 5 voters.
var ErrSize = errors.New("the number of voters is 1, 3 or 5")

// SetSize has the store keep that many voters; 0: three once there are as many
// hosts.
func SetSize(ctx context.Context, kv store.KV, voters int) error {
	var size store.Size
	op := store.Delete(store.SizeKey())
	switch voters {
	case 1, 3, 5:
		said, err := kv.Get(ctx, store.SizeKey())
		if err == nil {
			size, err = store.Decode[store.Size](said)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("set the number of voters: %w", err)
		}
		size.Voters = voters
		op = store.Put(store.SizeKey(), store.Encode(size))
	case 0:
	default:
		return fmt.Errorf("%w, not %d", ErrSize, voters)
	}
	if _, err := kv.Commit(ctx, store.Txn{Then: []store.Op{op}}); err != nil {
		return fmt.Errorf("set the number of voters: %w", err)
	}
	return nil
}

// Records lists the members' records, by node.
func Records(ctx context.Context, kv store.KV) ([]store.Member, error) {
	items, _, err := kv.List(ctx, store.MembersSpan())
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	var all []store.Member
	for _, it := range items {
		record, err := store.Decode[store.Member](it)
		if err != nil {
			return nil, err
		}
		all = append(all, record)
	}
	return all, nil
}

// Restart makes one member the only one of the records: of a store that was made
// anew by its host alone, from a copy that knows others.
func Restart(ctx context.Context, kv store.KV, only store.Member) error {
	all, err := Records(ctx, kv)
	if err != nil {
		return err
	}
	ops := []store.Op{store.Put(store.MemberKey(only.Node), store.Encode(only))}
	for _, record := range all {
		if record.Node != only.Node {
			ops = append(ops, store.Delete(store.MemberKey(record.Node)))
		}
	}
	if _, err := kv.Commit(ctx, store.Txn{Then: ops}); err != nil {
		return fmt.Errorf("write which member is left: %w", err)
	}
	return nil
}

// HexID is a member's id as its record has it.
func HexID(id uint64) string { return strconv.FormatUint(id, 16) }

// known is what the store says of hosts and members, as mirrors.
type known struct {
	nodes   *store.Table[store.Node]
	lives   *store.Table[store.Live]
	epochs  *store.Table[store.Epoch]
	records *store.Table[store.Member]
	sizes   *store.Table[store.Size]
}

func newKnown(unread func(error)) known {
	return known{
		nodes:   store.NewTable[store.Node](store.NodesSpan(), unread),
		lives:   store.NewTable[store.Live](store.LiveSpan(), unread),
		epochs:  store.NewTable[store.Epoch](store.EpochsSpan(), unread),
		records: store.NewTable[store.Member](store.MembersSpan(), unread),
		sizes:   store.NewTable[store.Size](store.Span{From: store.SizeKey(), To: store.SizeKey() + "\x00"}, unread),
	}
}

// each does the same with every mirror, all at once, and returns what went wrong.
func (k known) each(do func(span store.Span, apply func(store.Change)) error) error {
	var work sync.WaitGroup
	errs := make([]error, 5)
	for i, one := range []struct {
		span  store.Span
		apply func(store.Change)
	}{
		{store.NodesSpan(), k.nodes.Apply},
		{store.LiveSpan(), k.lives.Apply},
		{store.EpochsSpan(), k.epochs.Apply},
		{store.MembersSpan(), k.records.Apply},
		{store.Span{From: store.SizeKey(), To: store.SizeKey() + "\x00"}, k.sizes.Apply},
	} {
		work.Go(func() { errs[i] = do(one.span, one.apply) })
	}
	work.Wait()
	return errors.Join(errs...)
}

// follow keeps the mirrors fed until ctx ends.
func (k known) follow(ctx context.Context, kv store.KV) error {
	return k.each(func(span store.Span, apply func(store.Change)) error { return store.Follow(ctx, kv, span, apply) })
}

// read fills the mirrors once.
func (k known) read(ctx context.Context, kv store.KV) error {
	return k.each(func(span store.Span, apply func(store.Change)) error {
		items, rev, err := kv.List(ctx, span)
		if err != nil {
			return fmt.Errorf("list %s: %w", span.From, err)
		}
		apply(store.Change{Reset: true, Items: items, Revision: rev})
		return nil
	})
}

// listed reports whether every mirror has its first list, and the records are no
// older than what was written of them.
func (k known) listed() bool {
	_, current := k.records.Rows()
	return current && k.nodes.Listed() && k.lives.Listed() && k.epochs.Listed() && k.sizes.Listed()
}

func (k known) want() int {
	row, _ := k.sizes.Row(store.SizeKey())
	return row.Record.Voters
}

// hosts are those that the store describes, and evicted ones, whose description
// is gone before their member is.
func (k known) hosts() []Host {
	nodes, _ := k.nodes.Rows()
	epochs, _ := k.epochs.Rows()
	lives, _ := k.lives.Rows()
	var all []Host
	for _, row := range nodes {
		n := row.Record
		_, live := lives[store.LiveKey(n.Node)]
		all = append(all, Host{
			Node: n.Node, Base: n.Store, Live: live, Drained: n.Drained, Leaving: n.Leaving,
			Evicted: epochs[store.EpochKey(n.Node)].Record.Evicted,
		})
	}
	for key, row := range epochs {
		node := store.NameOf(key)
		if _, described := nodes[store.NodeKey(node)]; row.Record.Evicted && !described {
			all = append(all, Host{Node: node, Evicted: true})
		}
	}
	return all
}

// nodeOf says whose a member is: by its name, by the record of it while it was
// never started, by its address when there is no record yet.
func (k known) nodeOf(hosts []Host) func(MemberInfo) string {
	records, _ := k.records.Rows()
	byID, byPeer := map[string]string{}, map[string]string{}
	for _, row := range records {
		byID[row.Record.ID] = row.Record.Node
	}
	for _, h := range hosts {
		if at, err := AddressesOf(h.Base); err == nil {
			byPeer[at.Peer] = h.Node
		}
	}
	return func(info MemberInfo) string {
		if info.Name != "" {
			return info.Name
		}
		if node, found := byID[HexID(info.ID)]; found {
			return node
		}
		return byPeer[info.Peer]
	}
}

// sync makes the records say what the cluster does. A record changes only if it
// is still what the mirror has; otherwise the next round sees to it.
func (k known) sync(ctx context.Context, kv store.KV, infos []MemberInfo) error {
	hosts := k.hosts()
	nodeOf, bases := k.nodeOf(hosts), map[string]string{}
	for _, h := range hosts {
		bases[h.Node] = h.Base
	}
	rows, _ := k.records.Rows()
	want := map[string]store.Member{} // by key
	for _, info := range infos {
		node := nodeOf(info)
		if node == "" {
			continue
		}
		key := store.MemberKey(node)
		record := rows[key].Record
		if at, err := AddressesOf(bases[node]); err == nil {
			record.Node, record.Peer, record.Client, record.Door = node, info.Peer, at.Client, at.Door
		} else if record.ID != HexID(info.ID) {
			continue // nobody could reach it
		}
		record.ID, record.Learner = HexID(info.ID), info.Learner
		want[key] = record
	}
	var errs []error
	for key, record := range want {
		if row, found := rows[key]; !found || row.Record != record {
			errs = append(errs, k.write(ctx, kv, store.Unchanged(key, row.Modified), store.Put(store.MemberKey(record.Node), store.Encode(record))))
		}
	}
	for key, row := range rows {
		if _, wanted := want[key]; !wanted {
			errs = append(errs, k.write(ctx, kv, store.Unchanged(key, row.Modified), store.Delete(store.MemberKey(store.NameOf(key)))))
		}
	}
	return errors.Join(errs...)
}

func (k known) write(ctx context.Context, kv store.KV, unless store.Cond, op store.Op) error {
	res, err := kv.Commit(ctx, store.Txn{If: []store.Cond{unless}, Then: []store.Op{op}})
	if err != nil {
		return fmt.Errorf("write %s: %w", op.Key, err)
	}
	if res.Done {
		k.records.Await(res.Revision)
	}
	return nil
}
