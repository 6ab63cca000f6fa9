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
func (cs *containers) adoptEndpoints(ctx context.Context, containers []engine.Container) error {
	var failed error
	for _, c := range containers {
		if c.State == engine.StateRunning && slices.ContainsFunc(c.Attachments, cs.unclaimed) {
			failed = errors.Join(failed, cs.adoptContainer(ctx, c))
		}
	}
	return failed
}

// unclaimed reports whether an attachment is an endpoint on a network of
// this driver that the journal does not know.
func (cs *containers) unclaimed(a engine.Attachment) bool {
	_, claimed := cs.memory.Endpoint(a.EndpointID)
	n, ours := cs.memory.Network(a.NetworkID)
	return a.EndpointID != "" && !claimed && ours && !n.Foreign && n.Stage != journal.StageGone
}

func (cs *containers) adoptContainer(ctx context.Context, c engine.Container) error {
	told := map[string]store.Endpoint{}
	for _, a := range c.Attachments {
		if !cs.unclaimed(a) {
			continue
		}
		it, err := cs.cfg.KV.Get(ctx, store.EndpointKey(cs.self.Node(), a.EndpointID))
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
	full, err := cs.cfg.Engine.Container(ctx, c.ID)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take back the endpoints of container %s: %w", c.Name, err)
	}
	for _, a := range full.Attachments {
		rec, ok := told[a.EndpointID]
		e, same := restoredEndpoint(rec, full, a)
		if !ok || !same || !cs.unclaimed(a) || !cs.sandboxLives(e) {
			continue
		}
		if err := cs.memory.Put(e); err != nil {
			return err
		}
		cs.log.Warn("took back an endpoint that the journal did not know", "container", c.Name, "network", a.Network, "addresses", e.Addresses())
		if n, ok := cs.memory.Network(e.Network); ok {
			cs.sandboxes.openSandbox(n, e)
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
func (ps *nodes) inherit(ctx context.Context) error {
	ps.inherited.mu.Lock()
	defer ps.inherited.mu.Unlock()
	if ps.inherited.read {
		return nil
	}
	it, err := ps.cfg.KV.Get(ctx, store.NodeKey(ps.self.Node()))
	if errors.Is(err, store.ErrNotFound) {
		ps.inherited.read = true
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
		if _, known := ps.memory.Network(n.Engine); !known && n.State == string(journal.StageLocal) && len(n.Pools) > 0 {
			ps.inherited.locals = append(ps.inherited.locals, n)
		}
	}
	ps.inherited.read = true
	if len(ps.inherited.locals) > 0 {
		ps.poke()
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
func (rs *replicas) adoptLocals(v plan.View) error {
	rs.nodes.inherited.mu.Lock()
	defer rs.nodes.inherited.mu.Unlock()
	for len(rs.nodes.inherited.locals) > 0 {
		told := rs.nodes.inherited.locals[0]
		e, listed := v.Engine[told.Engine]
		known := slices.ContainsFunc(v.Journal, func(n journal.Network) bool { return n.ID == told.Engine })
		if listed && !known && e.Labels[plan.ReplicaLabel] == "" {
			if err := rs.adoptLocal(told, e); err != nil {
				return fmt.Errorf("take back the local network %s: %w", e.Name, err)
			}
		}
		rs.nodes.inherited.locals = rs.nodes.inherited.locals[1:]
		tell(rs.changed)
	}
	return nil
}

func (rs *replicas) adoptLocal(told store.NodeNetwork, e engine.Network) error {
	n := plan.Restored(store.Network{UUID: told.UUID, Created: store.Definition{IPv4: e.IPv4, Segment: told.Segment, Pools: told.Pools}}, e)
	n.Stage, n.Foreign, n.Links, n.Since = journal.StageLocal, e.IPAM.Driver != rs.cfg.Name, told.Links, rs.milliseconds()
	err := rs.memory.Change(func(c *journal.Change) error {
		if !n.Foreign {
			rs.addresses.Attach(c, n.ID, definedPools(store.Definition{Pools: n.Pools}))
		}
		c.Put(n)
		return nil
	})
	if err != nil {
		return err
	}
	rs.log.Warn("took back a local network that the journal did not know", "network", e.Name)
	rs.containers.names.poke()
	return nil
}
