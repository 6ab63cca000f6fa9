package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/plan"
)

// inheritance is what this node's own record told, before this life of the
// agent wrote it anew, of local networks that the journal does not know: the
// record is all there is of them beside the engine, which does not know what
// gvlan chose.
type inheritance struct {
	mu     sync.Mutex
	read   bool
	locals []store.NodeNetwork
}

// inherit reads the record, once, before it is written.
func (d *Driver) inherit(ctx context.Context) error {
	d.inherited.mu.Lock()
	defer d.inherited.mu.Unlock()
	if d.inherited.read {
		return nil
	}
	it, err := d.cfg.KV.Get(ctx, store.NodeKey(d.self.Node()))
	if errors.Is(err, store.ErrNotFound) {
		d.inherited.read = true
		return nil
	}
	if err != nil {
		return err
	}
	had, err := store.Decode[store.Node](it)
	if err != nil {
		return err
	}
	for _, n := range had.Networks {
		if _, known := d.state.Network(n.Engine); !known && n.State == string(journal.StageLocal) && len(n.Pools) > 0 {
			d.inherited.locals = append(d.inherited.locals, n)
		}
	}
	d.inherited.read = true
	if len(d.inherited.locals) > 0 {
		d.poke()
	}
	return nil
}

// left are the networks that are not taken back yet. The record keeps them:
// the agent may end before the engine lists them.
func (i *inheritance) left() []store.NodeNetwork {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.locals)
}

// adoptLocals takes back the local networks of a lost journal that the engine
// still has.
func (d *Driver) adoptLocals(v plan.View) error {
	d.inherited.mu.Lock()
	defer d.inherited.mu.Unlock()
	for len(d.inherited.locals) > 0 {
		told := d.inherited.locals[0]
		e, listed := v.Engine[told.Engine]
		known := slices.ContainsFunc(v.Journal, func(n journal.Network) bool { return n.ID == told.Engine })
		if listed && !known && e.Labels[plan.ReplicaLabel] == "" {
			if err := d.adoptLocal(told, e); err != nil {
				return fmt.Errorf("take back the local network %s: %w", e.Name, err)
			}
		}
		d.inherited.locals = d.inherited.locals[1:]
		tell(d.changed)
	}
	return nil
}

func (d *Driver) adoptLocal(told store.NodeNetwork, e engine.Network) error {
	n := plan.Restored(store.Network{UUID: told.UUID, Created: store.Definition{IPv4: e.IPv4, Segment: told.Segment, Pools: told.Pools}}, e)
	n.Stage, n.Foreign, n.Links, n.Since = journal.StageLocal, e.IPAM.Driver != d.cfg.Name, told.Links, d.milliseconds()
	if !n.Foreign {
		if err := d.addresses.Attach(n.ID, definedPools(store.Definition{Pools: n.Pools})); err != nil {
			return err
		}
	}
	if err := d.state.PutNetwork(n); err != nil {
		return err
	}
	d.log.Warn("took back a local network that the journal did not know", "network", e.Name)
	d.names.poke()
	return nil
}
