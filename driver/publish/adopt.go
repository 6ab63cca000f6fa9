package publish

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

// AdoptEndpoints takes back the endpoints of running containers that the
// journal does not know, once their networks are known again: its file was
// lost or damaged. What is told of an endpoint by its record in the store,
// which Bind makes and Unbind removes, and by the engine is believed; less
// may be one that Docker is making or removing right now.
func (cs *Containers) AdoptEndpoints(ctx context.Context, containers []engine.Container) error {
	var failed error
	for _, c := range containers {
		if c.State == engine.StateRunning && slices.ContainsFunc(c.Attachments, cs.Unclaimed) {
			failed = errors.Join(failed, cs.adoptContainer(ctx, c))
		}
	}
	return failed
}

// Unclaimed reports whether an attachment is an endpoint on a network of
// this driver that the journal does not know.
func (cs *Containers) Unclaimed(a engine.Attachment) bool {
	_, claimed := cs.Memory.Endpoint(a.EndpointID)
	n, ours := cs.Memory.Network(a.NetworkID)
	return a.EndpointID != "" && !claimed && ours && !n.Foreign && n.Stage != journal.StageGone
}

func (cs *Containers) adoptContainer(ctx context.Context, c engine.Container) error {
	told := map[string]store.Endpoint{}
	for _, a := range c.Attachments {
		if !cs.Unclaimed(a) {
			continue
		}
		it, err := cs.Cfg.KV.Get(ctx, store.EndpointKey(cs.Self.Node(), a.EndpointID))
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
	full, err := cs.Cfg.Engine.Container(ctx, c.ID)
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take back the endpoints of container %s: %w", c.Name, err)
	}
	for _, a := range full.Attachments {
		rec, ok := told[a.EndpointID]
		e, same := restoredEndpoint(rec, full, a)
		if !ok || !same || !cs.Unclaimed(a) || !cs.SandboxLives(e) {
			continue
		}
		if err := cs.Memory.KnownPut(e); err != nil {
			return err
		}
		cs.Log.Warn("took back an endpoint that the journal did not know", "container", c.Name, "network", a.Network, "addresses", e.Addresses())
		if n, ok := cs.Memory.Network(e.Network); ok {
			cs.sandboxes.OpenSandbox(n, e)
		}
		cs.endpoints.Adopted()
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
	for _, text := range rec.Wants {
		if p, err := netip.ParsePrefix(text); err == nil {
			e.Wants = append(e.Wants, p)
		}
	}
	e.Failover = time.Duration(rec.Failover) * time.Second
	e.IPv4, _ = netip.ParsePrefix(rec.IPv4) // "" without one
	e.IPv6, _ = netip.ParsePrefix(rec.IPv6)
	return e, e.IPv4.Addr() == a.IPv4.Addr() && e.IPv6.Addr() == a.IPv6.Addr()
}
