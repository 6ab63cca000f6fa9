package network

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/failpoint"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/plan"
)

// retire turns a definition that nobody refers to from active to removing:
// from here on nothing starts on it, and every live node answers.
func (rs *Replicas) retire(ctx context.Context, s plan.Step) error {
	def := s.Definition.Record
	def.State = store.NetworkRemoving
	res, err := rs.Cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(s.Definition.Key, s.Definition.Modified)},
		Then: []store.Op{store.Put(s.Definition.Key, store.Encode(def))},
	})
	if err == nil && res.Done {
		failpoint.Reach("removal: retired")
		rs.Log.Info("network is being removed from the whole cluster", "network", def.Name)
	}
	return err
}

// renew says that a network is wanted which this host, and others maybe, were
// told to remove a moment ago: somebody has made it again here, and was told that
// it is there. It is bound once that is said.
func (rs *Replicas) renew(ctx context.Context, s plan.Step) error {
	def := s.Definition.Record
	def.Renewed++
	res, err := rs.Cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(s.Definition.Key, s.Definition.Modified)},
		Then: []store.Op{store.Put(s.Definition.Key, store.Encode(def))},
	})
	if err == nil && res.Done {
		failpoint.Reach("renew: renewed")
		rs.Tables.Networks.Await(res.Revision)
		rs.Log.Info("network was made again before it was removed: it stays on every host", "network", def.Name)
	}
	return err
}

// detach disconnects this host's containers, running or stopped, from a
// network that an operator removes by force.
func (rs *Replicas) detach(ctx context.Context, s plan.Step) error {
	containers, err := rs.Cfg.Engine.Containers(ctx)
	if err != nil {
		return err
	}
	for _, c := range containers {
		if !slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool { return a.NetworkID == s.Network.ID || a.Network == s.Engine.Name }) {
			continue
		}
		if err := rs.Cfg.Engine.Disconnect(ctx, s.Network.ID, c.ID, true); err != nil {
			return fmt.Errorf("disconnect container %s: %w", c.Name, err)
		}
		failpoint.Reach("detach: one disconnected")
		rs.Log.Warn("disconnected a container from a network that is removed by force", "container", c.Name, "network", s.Engine.Name)
	}
	return nil
}

// answer says whether the replica is gone here, or why the definition must
// stay.
func (rs *Replicas) answer(ctx context.Context, s plan.Step) error {
	def := s.Definition
	removal := store.Removal{Node: rs.Self.Node(), Gone: s.Why == "", Veto: s.Why, At: def.Modified}
	_, err := rs.Cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.SameLife(def.Key, def.Created)},
		Then: []store.Op{store.Put(store.RemovalKey(def.Record.UUID, rs.Self.Node()), store.Encode(removal))},
	})
	failpoint.Reach("removal: answered")
	return err
}

// revive makes a definition active again: somebody refers to it after all, or
// what looked like an rm was a prune.
func (rs *Replicas) revive(ctx context.Context, s plan.Step) error {
	def := s.Definition.Record
	def.State, def.Force = store.NetworkActive, false
	txn := store.Txn{
		If:   []store.Cond{store.Unchanged(s.Definition.Key, s.Definition.Modified)},
		Then: []store.Op{store.Put(s.Definition.Key, store.Encode(def))},
	}
	if s.Definition.Modified == 0 { // from its tombstone
		txn.Then = append(txn.Then, store.Delete(store.TombstoneKey(def.UUID)))
	}
	res, err := rs.Cfg.KV.Commit(ctx, txn)
	if err == nil && res.Done {
		rs.Tables.Networks.Await(res.Revision)
		rs.Log.Warn("network is not removed after all", "network", def.Name, "why", s.Why)
		if s.Definition.Modified == 0 { // else nobody was told that it was removed
			tellMade(rs.Host, def, "it is not removed after all: "+s.Why)
		}
	}
	return err
}

// bury ends a removal every live node agreed to: definition and reservations
// go, a tombstone stays for nodes that are away.
func (rs *Replicas) bury(ctx context.Context, s plan.Step) error {
	done, err := rs.networks.undefine(ctx, s.Definition)
	if done {
		failpoint.Reach("removal: buried")
		rs.Log.Info("network is removed from the whole cluster", "network", s.Definition.Record.Name, "uuid", s.Definition.Record.UUID)
	}
	return err
}

// settle says that nothing of a removed network is left here.
func (rs *Replicas) settle(ctx context.Context, s plan.Step) error {
	grave, node := s.Definition, rs.Self.Node()
	answer := store.Removal{Node: node, Gone: true, Settled: true, At: grave.Modified}
	res, err := rs.Cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(grave.Key, grave.Modified)},
		Then: []store.Op{store.Put(store.RemovalKey(grave.Record.UUID, node), store.Encode(answer))},
	})
	if err == nil && res.Done {
		failpoint.Reach("removal: settled")
		rs.Tables.Removals.Await(res.Revision)
	}
	return err
}

// clear ends a tombstone that every node has settled. One that is needed again,
// because it was revived meanwhile, is gone already.
func (rs *Replicas) clear(ctx context.Context, s plan.Step) error {
	grave := s.Definition
	res, err := rs.Cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(grave.Key, grave.Modified)},
		Then: []store.Op{store.Delete(grave.Key)},
	})
	if err == nil && res.Done {
		failpoint.Reach("removal: tombstone cleared")
		rs.Tables.Tombstones.Await(res.Revision)
		rs.Log.Info("every node has settled the removal of a network: its tombstone is gone", "network", grave.Record.Name, "uuid", grave.Record.UUID)
	}
	return err
}

// sweptAtOnce is how many answers one transaction takes away.
const sweptAtOnce = 100

// sweepAnswers deletes the nodes' answers to a removal that is over. One that
// is given meanwhile, to another removal, stays.
func (rs *Replicas) sweepAnswers(ctx context.Context, s plan.Step) error {
	items, _, err := rs.Cfg.KV.List(ctx, store.RemovalSpan(s.Definition.Record.UUID))
	if err != nil {
		return err
	}
	for some := range slices.Chunk(items, sweptAtOnce) {
		var txn store.Txn
		for _, it := range some {
			txn.If = append(txn.If, store.Unchanged(it.Key, it.Modified))
			txn.Then = append(txn.Then, store.Delete(it.Key))
		}
		res, err := rs.Cfg.KV.Commit(ctx, txn)
		if err != nil || !res.Done {
			return err // not done: one of them changed, the next look knows
		}
		failpoint.Reach("removal: answers swept")
		rs.Tables.Removals.Await(res.Revision)
	}
	return nil
}

// Withdraw takes every network off this engine and leaves their definitions as
// they are: this host goes to another store, and what it goes from may go on
// without it. Nothing is made again by this Replicas before Resume. While containers
// here refer to any of them, running or stopped, nothing happens, and the error
// names them.
func (rs *Replicas) Withdraw(ctx context.Context, why string) error {
	rs.acting.Lock()
	defer rs.acting.Unlock()
	v, ready, err := rs.look(ctx)
	if err != nil {
		return fmt.Errorf("see which networks are in use here: %w", err)
	}
	if !ready {
		return fmt.Errorf("see which networks are in use here: %w: the engine or the store does not answer", store.ErrUnavailable)
	}
	var used []string
	for _, id := range slices.Sorted(maps.Keys(v.Users)) {
		if i := slices.IndexFunc(v.Journal, func(n journal.Network) bool { return n.ID == id }); i >= 0 && len(v.Users[id]) > 0 {
			used = append(used, fmt.Sprintf("%s (%s)", v.Journal[i].Title(), strings.Join(slices.Sorted(slices.Values(v.Users[id])), ", ")))
		}
	}
	if len(used) > 0 {
		return fmt.Errorf("%w: containers of this host, running or stopped, refer to them: %s: remove these containers first", ErrInUse, strings.Join(used, "; "))
	}
	rs.withdrawn = true
	for _, n := range v.Journal {
		if err := rs.removeReplica(ctx, plan.Step{Network: n, Engine: v.Engine[n.ID], Why: why}); err != nil {
			rs.withdrawn = false
			return fmt.Errorf("take network %s off this host: %w", n.Title(), err)
		}
	}
	if left := rs.Memory.Networks(); len(left) > 0 {
		rs.withdrawn = false
		return fmt.Errorf("%w: the engine keeps %s", ErrInUse, left[0].Title())
	}
	return nil
}

// Resume undoes a Withdraw, because this host stays after all: its networks are made
// again.
func (rs *Replicas) Resume() {
	rs.acting.Lock()
	rs.withdrawn = false
	rs.acting.Unlock()
	host.Tell(rs.Wake)
}
