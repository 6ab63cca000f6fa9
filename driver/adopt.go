package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/plan"
)

// adoptEndpoints takes back the endpoints of running containers that the
// journal does not know, once their networks are known again: its file was
// lost or damaged. What is told of an endpoint by its record in the store,
// which Bind makes and Unbind removes, and by the engine is believed; less
// may be one that Docker is making or removing right now.
func (d *Driver) adoptEndpoints(ctx context.Context, containers []engine.Container) error {
	var failed error
	for _, c := range containers {
		if c.State == engine.StateRunning && slices.ContainsFunc(c.Attachments, d.unclaimed) {
			failed = errors.Join(failed, d.adoptContainer(ctx, c))
		}
	}
	return failed
}

// unclaimed reports whether an attachment is an endpoint on a network of
// this driver that the journal does not know.
func (d *Driver) unclaimed(a engine.Attachment) bool {
	_, claimed := d.memory.Endpoint(a.EndpointID)
	n, ours := d.memory.Network(a.NetworkID)
	return a.EndpointID != "" && !claimed && ours && !n.Foreign && n.Stage != journal.StageGone
}

func (d *Driver) adoptContainer(ctx context.Context, c engine.Container) error {
	told := map[string]store.Endpoint{}
	for _, a := range c.Attachments {
		if !d.unclaimed(a) {
			continue
		}
		it, err := d.cfg.KV.Get(ctx, store.EndpointKey(d.self.Node(), a.EndpointID))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("take back an endpoint of container %s: %w", c.Name, err)
		}
		if told[a.EndpointID], err = store.Decode[store.Endpoint](it); err != nil {
			return fmt.Errorf("take back an endpoint of container %s: %w", c.Name, err)
		}
	}
	if len(told) == 0 {
		return nil
	}
	// Asked last: the engine answers when no start or stop is under way.
	full, err := d.cfg.Engine.Container(ctx, c.ID)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take back the endpoints of container %s: %w", c.Name, err)
	}
	for _, a := range full.Attachments {
		rec, ok := told[a.EndpointID]
		e, same := restoredEndpoint(rec, full, a)
		if !ok || !same || !d.unclaimed(a) || !d.sandboxLives(e) {
			continue
		}
		if err := d.memory.Put(e); err != nil {
			return err
		}
		d.log.Warn("took back an endpoint that the journal did not know", "container", c.Name, "network", a.Network, "addresses", e.Addresses())
		if n, ok := d.memory.Network(e.Network); ok {
			d.openSandbox(n, e)
		}
	}
	return nil
}

// restoredEndpoint is the journal's record as the store and the engine let it
// be known, and reports whether they tell of the same endpoint.
func restoredEndpoint(rec store.Endpoint, c engine.ContainerDetail, a engine.Attachment) (journal.Endpoint, bool) {
	e := journal.Endpoint{
		ID: a.EndpointID, Network: a.NetworkID, MAC: rec.MAC, Link: rec.Link, Parent: rec.Parent,
		Sandbox: c.SandboxKey, Since: rec.Since * 1000, Container: describeContainer(c, a),
	}
	e.IPv4, _ = netip.ParsePrefix(rec.IPv4) // "" without one
	e.IPv6, _ = netip.ParsePrefix(rec.IPv6)
	return e, e.IPv4.Addr() == a.IPv4.Addr() && e.IPv6.Addr() == a.IPv6.Addr()
}

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
		if _, known := d.memory.Network(n.Engine); !known && n.State == string(journal.StageLocal) && len(n.Pools) > 0 {
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
	err := d.memory.Change(func(c *journal.Change) error {
		if !n.Foreign {
			d.addresses.Attach(c, n.ID, definedPools(store.Definition{Pools: n.Pools}))
		}
		c.Put(n)
		return nil
	})
	if err != nil {
		return err
	}
	d.log.Warn("took back a local network that the journal did not know", "network", e.Name)
	d.names.poke()
	return nil
}
