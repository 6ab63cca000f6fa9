package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/link"
)

// act does one step. An error means that nothing more should be done before
// looking again.
func (d *Driver) act(ctx context.Context, s step) error {
	switch s.do {
	case doCommit:
		return d.commit(ctx, s)
	case doBind, doAdopt:
		return d.bindDefinition(ctx, s)
	case doCreate:
		return d.replicate(ctx, s)
	case doComeBack:
		return d.comeBack(ctx, s)
	case doRemove:
		return d.removeReplica(ctx, s)
	case doForget:
		return d.forget(ctx, s.network)
	case doKeep:
		return d.keep(s)
	case doStage:
		return d.noteStage(s)
	case doOverride:
		return d.takeOverrides(s)
	case doRetire:
		return d.retire(ctx, s)
	case doAnswer:
		return d.answer(ctx, s)
	case doRevive:
		return d.revive(ctx, s)
	case doBury:
		return d.bury(ctx, s)
	case doSwarmCommit:
		return d.commitSwarm(ctx, s)
	case doSwarmBind:
		return d.bindSwarm(s)
	case doSwarmFree:
		return d.freeSwarm(ctx, s)
	case doComplain:
		d.troubles.tell(d.log, nameTaken(s.definition.Record), fmt.Errorf("make network %s on this host: %w: %s", s.title(), engine.ErrNameTaken, s.why))
		return nil
	case doSweep:
		return d.sweepAnswers(ctx, s)
	case doDetach:
		return d.detach(ctx, s)
	}
	return nil
}

// commit makes the definition of a network that Docker made here. Whoever
// commits a name first has it; losing is seen at the next look.
func (d *Driver) commit(ctx context.Context, s step) error {
	failpoint("commit: begun")
	for _, subnet := range droppedSubnets(s.engine, s.network) {
		d.log.Warn("Docker ignored a subnet of the network: an IPv6 subnet needs --ipv6", "network", s.engine.Name, "subnet", subnet)
	}
	n := store.Network{
		UUID: s.network.UUID, Name: s.engine.Name, State: store.NetworkActive, Scope: store.ScopeGlobal,
		Origin: d.self.Node(), Since: d.milliseconds() / 1000, Created: define(s.engine, s.network),
	}
	conds, ops, err := d.addresses.ReserveFor(ctx, n.UUID, s.network.ID)
	if err != nil {
		return err
	}
	key := store.NetworkKey(n.Name)
	conds = append(conds, store.Absent(key), store.Absent(store.TombstoneKey(n.UUID)))
	if made := s.engine.Labels[replicaLabel]; made != "" && made != n.UUID {
		// A replica that nobody bound yet: what was removed stays removed.
		conds = append(conds, store.Absent(store.TombstoneKey(made)))
	}
	res, err := d.cfg.KV.Commit(ctx, store.Txn{
		If:   conds,
		Then: append(ops, store.Put(key, store.Encode(n))),
	})
	if err != nil || !res.Done {
		return err // not done: the name was taken or a reservation moved, the next look knows
	}
	failpoint("commit: defined")
	d.tables.networks.awaits(res.Revision)
	d.log.Info("network is defined for the whole cluster", "network", n.Name, "uuid", n.UUID)
	if d.isSolo() {
		d.log.Warn(soloWarning, "network", n.Name)
	}
	s.definition = row[store.Network]{Key: key, Record: n, Modified: res.Revision}
	return d.bindTo(s, StageCommitted, d.milliseconds())
}

// bindDefinition ties this host's network to an equal definition.
func (d *Driver) bindDefinition(ctx context.Context, s step) error {
	if s.do == doAdopt {
		if err := d.addresses.Attach(s.network.ID, definedPools(s.definition.Record.Created)); err != nil {
			return err
		}
		failpoint("adopt: pools joined")
		if err := d.state.putNetwork(s.network); err != nil {
			return err
		}
		failpoint("adopt: journaled")
		d.names.poke() // its endpoints are taken back with their names
		d.log.Warn("took back a network that the journal did not know", "network", s.engine.Name)
	}
	def := s.definition.Record
	if extra := extraOptions(def.Created, define(s.engine, s.network)); len(extra) > 0 {
		d.log.Warn("options that this host's default-network-opts added beyond the definition are ignored", "network", def.Name, "options", joinWords(extra))
	}
	stage := StageReplica
	if def.Origin == d.self.Node() {
		stage = StageCommitted
	}
	return d.share(ctx, s, stage)
}

// share binds the network after its reservations (gateway, aux) were put
// under the definition's uuid, beside those of every other host.
func (d *Driver) share(ctx context.Context, s step, stage Stage) error {
	conds, ops, err := d.addresses.ReserveFor(ctx, s.definition.Record.UUID, s.network.ID)
	if err != nil {
		return err
	}
	if len(ops) > 0 {
		conds = append(conds, store.SameLife(s.definition.Key, s.definition.Born))
		res, err := d.cfg.KV.Commit(ctx, store.Txn{If: conds, Then: ops})
		if err != nil || !res.Done {
			return err // not done: a reservation moved, the next look tries again
		}
		failpoint("share: reserved")
	}
	return d.bindTo(s, stage, d.milliseconds())
}

// bindTo tells the allocator of the binding and journals it, in this order:
// whoever dies in between finds the network not bound, and does both again.
func (d *Driver) bindTo(s step, stage Stage, since int64) error {
	def := s.definition.Record
	if err := d.addresses.Adopt(s.network.ID, def, s.definition.Modified); err != nil {
		return err
	}
	failpoint("bind: adopted")
	err := d.state.changeNetwork(s.network.ID, func(n *hostNetwork) {
		n.UUID, n.Name, n.Overrides = def.UUID, def.Name, def.Overrides
		if o, ok := definedOptions(def); ok {
			n.Options = o
		}
		if n.Stage != StageGone { // Docker deleted it since the look: that is to be settled yet
			n.Stage, n.Why, n.Since, n.Removing, n.NameLost = stage, "", since, false, false
		}
	})
	if err != nil {
		return err
	}
	if had := s.network; had.UUID != def.UUID {
		had.UUID = def.UUID
		d.renameSandboxes(had)
	}
	d.names.poke() // its endpoints' records name the network
	return nil
}

// replicate makes the replica of a definition on this engine.
func (d *Driver) replicate(ctx context.Context, s step) error {
	_, err := d.makeReplica(ctx, s.definition)
	if err != nil {
		d.troubles.tell(d.log, replicaOf(s.definition.Record), fmt.Errorf("make network %s on this host: %w", s.definition.Record.Name, err))
		return nil
	}
	d.troubles.over(replicaOf(s.definition.Record))
	d.troubles.over(nameTaken(s.definition.Record))
	d.log.Info("made the network on this host", "network", s.definition.Record.Name, "origin", d.hosts().of(s.definition.Record.Origin))
	return nil
}

// makeReplica asks the engine, which calls the plugin as for any user, and
// binds what came of it.
func (d *Driver) makeReplica(ctx context.Context, def row[store.Network]) (string, error) {
	d.making.Store(&def.Record)
	id, err := d.cfg.Engine.CreateNetwork(ctx, request(d.cfg.Name, def.Record))
	d.making.Store(nil)
	if err != nil {
		return "", err
	}
	failpoint("replica: made")
	n, ok := d.state.network(id)
	if !ok {
		return "", fmt.Errorf("%w: the engine made it (%s) without asking this agent", ErrUnknownNetwork, shortID(id))
	}
	return id, d.share(ctx, step{network: n, definition: def}, StageReplica)
}

// removeReplica takes the network off this engine. One that turns out to be
// in use stays: the next look sees by what.
func (d *Driver) removeReplica(ctx context.Context, s step) error {
	err := d.state.changeNetwork(s.network.ID, func(n *hostNetwork) { n.Removing = true })
	if err != nil {
		return err
	}
	failpoint("replica: marked")
	err = d.cfg.Engine.RemoveNetwork(ctx, s.network.ID)
	if errors.Is(err, engine.ErrInUse) {
		d.log.Warn("could not remove the network from this host", "network", s.engine.Name, "error", err)
		return d.stayed(ctx, s)
	}
	if err != nil {
		return err
	}
	failpoint("replica: removed")
	d.log.Info("removed the network from this host", "network", s.engine.Name, "why", s.why)
	return d.state.dropNetwork(s.network.ID)
}

// stayed undoes the mark of a removal that the engine refused; where a
// definition waits for this node's answer, that is a veto.
func (d *Driver) stayed(ctx context.Context, s step) error {
	err := d.state.changeNetwork(s.network.ID, func(n *hostNetwork) { n.Removing = false })
	if err != nil || s.definition.Record.State != store.NetworkRemoving {
		return err
	}
	s.why = fmt.Sprintf("the engine of node %s says it is in use", d.cfg.host())
	return d.answer(ctx, s)
}

// noteStage journals a stage and says why, once.
func (d *Driver) noteStage(s step) error {
	if s.why != "" {
		d.log.Warn("network is out of step with the cluster", "network", s.engine.Name, "stage", s.stage, "why", s.why)
	}
	unused := len(d.state.endpointsOf(s.network.ID)) == 0
	return d.state.changeNetwork(s.network.ID, func(n *hostNetwork) {
		n.noteClash(s.why, unused)
		n.Name, n.Stage, n.Why = s.engine.Name, s.stage, s.why
	})
}

// takeOverrides journals what `network set` changed.
func (d *Driver) takeOverrides(s step) error {
	return d.bindTo(s, s.network.Stage, s.network.Since)
}

// forget drops a network the engine does not have, and closes its pools: a
// create that failed half-way leaves them open.
func (d *Driver) forget(ctx context.Context, n hostNetwork) error {
	if n.isManager() {
		if err := d.endClaims(ctx, n); err != nil {
			return err
		}
	}
	if err := d.addresses.Detach(n.ID); err != nil {
		return err
	}
	failpoint("forget: pools left")
	return d.state.dropNetwork(n.ID)
}

// keep takes a network back whose deletion Docker gave up: it did not hear
// the answer, told its user of a failure, and lists the network as before.
func (d *Driver) keep(s step) error {
	n := s.network
	if err := d.addresses.Attach(n.ID, definedPools(store.Definition{Pools: n.Pools})); err != nil {
		return err
	}
	failpoint("keep: pools joined")
	d.log.Warn("Docker kept a network that it had begun to remove", "network", n.title())
	return d.state.changeNetwork(n.ID, func(n *hostNetwork) { n.Stage, n.Since = StageSeen, d.milliseconds() })
}

// comeBack makes a network again that this engine lost, under a new id, and
// attaches this host's stopped containers to it: Docker starts them by the
// old id, which no longer exists. The step has the network's new one when an
// earlier try made it and did not come to its end.
func (d *Driver) comeBack(ctx context.Context, s step) error {
	about := replicaOf(s.definition.Record)
	if d.troubles.waiting(about) {
		return nil
	}
	id := s.engine.ID
	if id == "" {
		made, err := d.makeReplica(ctx, s.definition)
		if err != nil {
			d.troubles.tell(d.log, about, fmt.Errorf("bring network %s back on this host: %w", s.definition.Record.Name, err))
			return nil
		}
		id = made
	}
	failpoint("come back: made")
	d.troubles.over(about)
	if err := d.reattach(ctx, s.network, id); err != nil {
		return err
	}
	failpoint("come back: attached")
	d.log.Warn("brought the network back on this host", "network", s.definition.Record.Name, "why", s.why)
	return d.state.dropNetwork(s.network.ID)
}

// reattach moves the stopped containers of a network's old id to its new one
// with the settings they had.
func (d *Driver) reattach(ctx context.Context, old hostNetwork, id string) error {
	containers, err := d.cfg.Engine.Containers(ctx)
	if err != nil {
		return err
	}
	for _, c := range containers {
		i := slices.IndexFunc(c.Attachments, func(a engine.Attachment) bool { return a.NetworkID == old.ID })
		if i < 0 {
			continue
		}
		full, err := d.cfg.Engine.Container(ctx, c.ID)
		if err != nil {
			return err
		}
		if err := d.moveAttachment(ctx, full, old, id); err != nil {
			return fmt.Errorf("attach container %s to network %s again: %w", c.Name, old.title(), err)
		}
	}
	return nil
}

func (d *Driver) moveAttachment(ctx context.Context, c engine.ContainerDetail, old hostNetwork, id string) error {
	for _, a := range c.Attachments {
		if a.NetworkID != old.ID {
			continue
		}
		if mac := askedMAC(c.ID, a, old); mac != nil && old.Options.Kind != link.Ipvlan {
			a.Settings.DriverOpts = withMAC(a.Settings.DriverOpts, mac)
		}
		// One call replaces the stale attachment of a stopped container: there
		// is no moment at which it refers to no network.
		if err := d.cfg.Engine.Connect(ctx, id, c.ID, a.Settings); err != nil {
			return err
		}
		failpoint("come back: one attached")
		d.log.Info("attached a stopped container to the network again", "container", c.Name, "network", old.title())
	}
	return nil
}
