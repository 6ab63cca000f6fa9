package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/plan"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
	"gvlan/ipam/pool"
)

// syncReplicas keeps definitions and this engine's networks together until
// ctx ends: it looks whenever it is told that something changed, and every
// resyncEvery.
func (d *Driver) syncReplicas(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-tick.C:
		}
		again, err := d.syncOnce(ctx)
		if err != nil && ctx.Err() == nil {
			d.troubles.Tell(trouble.Matter{What: "replicas"}, err)
			again = time.Second
		} else {
			d.troubles.Over(trouble.Matter{What: "replicas"})
		}
		tick.Reset(again)
	}
}

// maxRounds bounds how often one look repeats because its steps changed what
// it saw.
const maxRounds = 8

// syncOnce looks and acts until nothing is left to do, and says when to look
// again.
func (d *Driver) syncOnce(ctx context.Context) (time.Duration, error) {
	if d.seen.wantsLabels() {
		if err := d.learnLabels(ctx); err != nil {
			d.log.Warn("the engine's labels cannot be read: read again at the next look", "err", err)
			d.seen.back() // asks for them again
		}
	}
	for range maxRounds {
		v, ready, err := d.look(ctx)
		if err != nil || !ready {
			return time.Second, err // nothing tells when the store is trusted again
		}
		d.troubles.Only(v.Knows)
		if err := d.adoptLocals(v); err != nil {
			return 0, err
		}
		d.lookAtClashes(v)
		steps := plan.Steps(v)
		if len(steps) == 0 {
			return d.nextLook(v), nil
		}
		if err := d.actAll(ctx, steps); err != nil {
			return 0, err
		}
		tell(d.changed)
	}
	return time.Second, nil
}

// actAll does the steps of one plan. One network's failure keeps no other
// waiting; a store or an engine that does not answer ends the round.
func (d *Driver) actAll(ctx context.Context, steps []plan.Step) error {
	var failed error
	for _, s := range steps {
		err := d.act(ctx, s)
		if err == nil {
			continue
		}
		failed = errors.Join(failed, fmt.Errorf("%s network %s: %w", s.Do, s.Title(), err))
		if ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFenced) || errors.Is(err, engine.ErrUnavailable) {
			break
		}
	}
	return failed
}

// nextLook is soon while a wait of the plan runs.
func (d *Driver) nextLook(v plan.View) time.Duration {
	for _, n := range v.Journal {
		if n.Stage == journal.StageGone || n.Stage == journal.StageSeen {
			return 250 * time.Millisecond
		}
	}
	if d.troubles.Any() || len(v.Missing) > 0 {
		return time.Second
	}
	return resyncEvery
}

// look collects a view. It is not ready while the engine or the store does
// not answer, or the store is not trusted: then nothing may be concluded.
func (d *Driver) look(ctx context.Context) (plan.View, bool, error) {
	definitions, ok1 := d.tables.networks.Rows()
	tombstones, ok2 := d.tables.tombstones.Rows()
	removals, ok3 := d.tables.removals.Rows()
	refs, ok4 := d.tables.refs.Rows()
	live, ok5 := d.tables.live.Rows()
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || d.self.Trusted() != nil {
		return plan.View{}, false, nil
	}
	v := plan.View{
		Node: d.self.Node(), Now: d.now(), Hosts: d.hosts(),
		Definitions: plan.ByName(definitions), Tombstones: plan.ByUUID(tombstones),
		Removals: plan.ByNode(removals), Refs: plan.Records(refs), Live: plan.NamesOf(live),
		Waiting: d.troubles.Waiting, SwarmOnly: d.cfg.Swarm,
	}
	v.Pruned, v.Deleted = d.seen.times()
	if err := d.lookAtEngine(ctx, &v); err != nil {
		if errors.Is(err, engine.ErrUnavailable) {
			return plan.View{}, false, nil
		}
		return plan.View{}, false, err
	}
	return v, true, nil
}

// lookAtEngine adds what the engine has. The journal is read after the
// engine's list, so that a network made in between is known to both.
func (d *Driver) lookAtEngine(ctx context.Context, v *plan.View) error {
	made := d.stopped.made()
	containers, err := d.cfg.Engine.Containers(ctx)
	if err != nil {
		return err
	}
	networks, err := d.cfg.Engine.Networks(ctx, "")
	if err != nil {
		return err
	}
	v.List(networks, d.cfg.Name)
	v.Journal = d.memory.Networks()
	v.Missing = plan.Unlisted(*v, d.missing)
	d.missing = v.Missing
	v.Users = plan.Users(containers, v.Engine, v.Journal)
	v.Kept = d.stopped.look(containers, *v, made, d.memory.Endpoint)
	d.avoid(*v)
	return d.publishRefs(ctx, *v)
}

// act does one step. An error means that nothing more should be done before
// looking again.
func (d *Driver) act(ctx context.Context, s plan.Step) error {
	switch s.Do {
	case plan.Commit:
		return d.commit(ctx, s)
	case plan.Bind, plan.Adopt:
		return d.bindDefinition(ctx, s)
	case plan.Create:
		return d.replicate(ctx, s)
	case plan.ComeBack:
		return d.comeBack(ctx, s)
	case plan.Remove:
		return d.removeReplica(ctx, s)
	case plan.Forget:
		return d.forget(ctx, s.Network)
	case plan.Keep:
		return d.keep(s)
	case plan.NoteStage:
		return d.noteStage(s)
	case plan.Override:
		return d.takeOverrides(s)
	case plan.Retire:
		return d.retire(ctx, s)
	case plan.Answer:
		return d.answer(ctx, s)
	case plan.Revive:
		return d.revive(ctx, s)
	case plan.Bury:
		return d.bury(ctx, s)
	case plan.SwarmCommit:
		return d.commitSwarm(ctx, s)
	case plan.SwarmBind:
		return d.bindSwarm(s)
	case plan.SwarmFree:
		return d.freeSwarm(ctx, s)
	case plan.Complain:
		d.troubles.Tell(plan.NameTaken(s.Definition.Record), fmt.Errorf("make network %s on this host: %w: %s", s.Title(), engine.ErrNameTaken, s.Why))
		return nil
	case plan.Sweep:
		return d.sweepAnswers(ctx, s)
	case plan.Detach:
		return d.detach(ctx, s)
	}
	return nil
}

// commit makes the definition of a network that Docker made here. Whoever
// commits a name first has it; losing is seen at the next look.
func (d *Driver) commit(ctx context.Context, s plan.Step) error {
	failpoint("commit: begun")
	for _, subnet := range plan.DroppedSubnets(s.Engine, s.Network) {
		d.log.Warn("Docker ignored a subnet of the network: an IPv6 subnet needs --ipv6", "network", s.Engine.Name, "subnet", subnet)
	}
	n := store.Network{
		UUID: s.Network.UUID, Name: s.Engine.Name, State: store.NetworkActive, Scope: store.ScopeGlobal,
		Origin: d.self.Node(), Since: d.milliseconds() / 1000, Created: plan.Define(s.Engine, s.Network),
	}
	conds, ops, err := d.addresses.ReserveFor(ctx, n.UUID, s.Network.ID)
	if err != nil {
		return err
	}
	key := store.NetworkKey(n.Name)
	conds = append(conds, store.Absent(key), store.Absent(store.TombstoneKey(n.UUID)))
	if made := s.Engine.Labels[plan.ReplicaLabel]; made != "" && made != n.UUID {
		// The engine has it as a replica of a definition that it was never bound
		// to: if that was removed meanwhile, this must not bring it back.
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
	d.tables.networks.Await(res.Revision)
	d.log.Info("network is defined for the whole cluster", "network", n.Name, "uuid", n.UUID)
	if d.isSolo() {
		d.log.Warn(soloWarning, "network", n.Name)
	}
	s.Definition = store.Row[store.Network]{Key: key, Record: n, Modified: res.Revision}
	return d.bindTo(s, journal.StageCommitted, d.milliseconds())
}

// bindDefinition ties this host's network to an equal definition.
func (d *Driver) bindDefinition(ctx context.Context, s plan.Step) error {
	if s.Do == plan.Adopt {
		err := d.memory.Change(func(c *journal.Change) error {
			d.addresses.Attach(c, s.Network.ID, definedPools(s.Definition.Record.Created))
			c.Put(s.Network)
			return nil
		})
		if err != nil {
			return err
		}
		failpoint("adopt: journaled")
		d.names.poke() // its endpoints are taken back with their names
		d.log.Warn("took back a network that the journal did not know", "network", s.Engine.Name)
	}
	def := s.Definition.Record
	if extra := plan.ExtraOptions(def.Created, plan.Define(s.Engine, s.Network)); len(extra) > 0 {
		d.log.Warn("options that this host's default-network-opts added beyond the definition are ignored", "network", def.Name, "options", strings.Join(extra, ", "))
	}
	stage := journal.StageReplica
	if def.Origin == d.self.Node() {
		stage = journal.StageCommitted
	}
	return d.share(ctx, s, stage)
}

// share binds the network after its reservations (gateway, aux) were put
// under the definition's uuid, beside those of every other host.
func (d *Driver) share(ctx context.Context, s plan.Step, stage journal.Stage) error {
	conds, ops, err := d.addresses.ReserveFor(ctx, s.Definition.Record.UUID, s.Network.ID)
	if err != nil {
		return err
	}
	if len(ops) > 0 {
		conds = append(conds, store.SameLife(s.Definition.Key, s.Definition.Created))
		res, err := d.cfg.KV.Commit(ctx, store.Txn{If: conds, Then: ops})
		if err != nil || !res.Done {
			return err // not done: a reservation moved, the next look tries again
		}
		failpoint("share: reserved")
	}
	return d.bindTo(s, stage, d.milliseconds())
}

// bindTo ties the network and its addresses to the definition.
func (d *Driver) bindTo(s plan.Step, stage journal.Stage, since int64) error {
	def := s.Definition.Record
	err := d.memory.Change(func(c *journal.Change) error {
		d.addresses.Adopt(c, s.Network.ID, def, s.Definition.Modified)
		n, ok := c.Network(s.Network.ID)
		if !ok {
			return nil
		}
		n.UUID, n.Name, n.Overrides = def.UUID, def.Name, def.Overrides
		if o, ok := plan.OptionsOf(def); ok {
			n.Options = o
		}
		if n.Stage != journal.StageGone { // Docker deleted it since the look: that is to be settled yet
			n.Stage, n.Why, n.Since, n.Removing, n.NameLost = stage, "", since, false, false
		}
		c.Put(n)
		return nil
	})
	if err != nil {
		return err
	}
	if had := s.Network; had.UUID != def.UUID {
		had.UUID = def.UUID
		d.renameSandboxes(had)
	}
	d.names.poke() // its endpoints' records name the network
	return nil
}

// replicate makes the replica of a definition on this engine.
func (d *Driver) replicate(ctx context.Context, s plan.Step) error {
	_, err := d.makeReplica(ctx, s.Definition)
	if err != nil {
		d.troubles.Tell(plan.ReplicaOf(s.Definition.Record), fmt.Errorf("make network %s on this host: %w", s.Definition.Record.Name, err))
		return nil
	}
	d.troubles.Over(plan.ReplicaOf(s.Definition.Record))
	d.troubles.Over(plan.NameTaken(s.Definition.Record))
	d.log.Info("made the network on this host", "network", s.Definition.Record.Name, "origin", d.hosts().Of(s.Definition.Record.Origin))
	return nil
}

// makeReplica asks the engine, which calls the plugin as for any user, and
// binds what came of it.
func (d *Driver) makeReplica(ctx context.Context, def store.Row[store.Network]) (string, error) {
	d.making.Store(&def.Record)
	id, err := d.cfg.Engine.CreateNetwork(ctx, plan.Request(d.cfg.Name, def.Record))
	d.making.Store(nil)
	if err != nil {
		return "", err
	}
	failpoint("replica: made")
	n, ok := d.memory.Network(id)
	if !ok {
		return "", fmt.Errorf("%w: the engine made it (%s) without asking this agent", ErrUnknownNetwork, visible.ID(id))
	}
	return id, d.share(ctx, plan.Step{Network: n, Definition: def}, journal.StageReplica)
}

// removeReplica takes the network off this engine. One that turns out to be
// in use stays: the next look sees by what.
func (d *Driver) removeReplica(ctx context.Context, s plan.Step) error {
	err := d.memory.ChangeNetwork(s.Network.ID, func(n *journal.Network) { n.Removing = true })
	if err != nil {
		return err
	}
	failpoint("replica: marked")
	err = d.cfg.Engine.RemoveNetwork(ctx, s.Network.ID)
	if errors.Is(err, engine.ErrInUse) {
		d.log.Warn("the engine does not remove the network: it stays on this host", "network", s.Engine.Name, "err", err)
		return d.stayed(ctx, s)
	}
	if err != nil {
		return err
	}
	failpoint("replica: removed")
	d.log.Info("removed the network from this host", "network", s.Engine.Name, "why", s.Why)
	return d.memory.Drop(journal.Network{ID: s.Network.ID})
}

// stayed undoes the mark of a removal that the engine refused; where a
// definition waits for this node's answer, that is a veto.
func (d *Driver) stayed(ctx context.Context, s plan.Step) error {
	err := d.memory.ChangeNetwork(s.Network.ID, func(n *journal.Network) { n.Removing = false })
	if err != nil || s.Definition.Record.State != store.NetworkRemoving {
		return err
	}
	s.Why = fmt.Sprintf("the engine of node %s says it is in use", d.cfg.host())
	return d.answer(ctx, s)
}

// noteStage journals a stage and says why, once.
func (d *Driver) noteStage(s plan.Step) error {
	if s.Why != "" {
		d.log.Warn("network is out of step with the cluster", "network", s.Engine.Name, "stage", s.Stage, "why", s.Why)
	}
	unused := len(d.memory.EndpointsOf(s.Network.ID)) == 0
	return d.memory.ChangeNetwork(s.Network.ID, func(n *journal.Network) {
		noteClash(n, s.Why, unused)
		n.Name, n.Stage, n.Why = s.Engine.Name, s.Stage, s.Why
	})
}

// takeOverrides journals what `network set` changed.
func (d *Driver) takeOverrides(s plan.Step) error {
	return d.bindTo(s, s.Network.Stage, s.Network.Since)
}

// forget drops a network the engine does not have, and closes its pools: a
// create that failed half-way leaves them open.
func (d *Driver) forget(ctx context.Context, n journal.Network) error {
	if n.IsManager() {
		if err := d.endClaims(ctx, n); err != nil {
			return err
		}
	}
	return d.memory.Change(func(c *journal.Change) error {
		d.addresses.Detach(c, n.ID)
		c.Drop(n)
		return nil
	})
}

// keep takes a network back whose deletion Docker gave up: it did not hear
// the answer, told its user of a failure, and lists the network as before.
func (d *Driver) keep(s plan.Step) error {
	d.log.Warn("Docker kept a network that it had begun to remove", "network", s.Network.Title())
	err := d.memory.Change(func(c *journal.Change) error {
		n, ok := c.Network(s.Network.ID)
		if !ok {
			return nil
		}
		d.addresses.Attach(c, n.ID, definedPools(store.Definition{Pools: n.Pools}))
		n.Stage, n.Since = journal.StageSeen, d.milliseconds()
		c.Put(n)
		return nil
	})
	failpoint("keep: journaled")
	return err
}

// comeBack makes a network again that this engine lost, under a new id, and
// attaches this host's stopped containers to it: Docker starts them by the
// old id, which no longer exists. The step has the network's new one when an
// earlier try made it and did not come to its end.
func (d *Driver) comeBack(ctx context.Context, s plan.Step) error {
	about := plan.ReplicaOf(s.Definition.Record)
	if d.troubles.Waiting(about) {
		return nil
	}
	id := s.Engine.ID
	if id == "" {
		made, err := d.makeReplica(ctx, s.Definition)
		if err != nil {
			d.troubles.Tell(about, fmt.Errorf("bring network %s back on this host: %w", s.Definition.Record.Name, err))
			return nil
		}
		id = made
	}
	failpoint("come back: made")
	d.troubles.Over(about)
	if err := d.reattach(ctx, s.Network, id); err != nil {
		return err
	}
	failpoint("come back: attached")
	d.log.Warn("brought the network back on this host", "network", s.Definition.Record.Name, "why", s.Why)
	return d.memory.Drop(journal.Network{ID: s.Network.ID})
}

// reattach moves the stopped containers of a network's old id to its new one
// with the settings they had.
func (d *Driver) reattach(ctx context.Context, old journal.Network, id string) error {
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
			return fmt.Errorf("attach container %s to network %s again: %w", c.Name, old.Title(), err)
		}
	}
	return nil
}

func (d *Driver) moveAttachment(ctx context.Context, c engine.ContainerDetail, old journal.Network, id string) error {
	for _, a := range c.Attachments {
		if a.NetworkID != old.ID {
			continue
		}
		if mac := askedMAC(c.ID, a, old); mac != nil && old.Options.Kind != link.Ipvlan {
			a.Settings.DriverOpts = option.WithMAC(a.Settings.DriverOpts, mac)
		}
		// One call replaces the stale attachment of a stopped container: there
		// is no moment at which it refers to no network.
		if err := d.cfg.Engine.Connect(ctx, id, c.ID, a.Settings); err != nil {
			return err
		}
		failpoint("come back: one attached")
		d.log.Info("attached a stopped container to the network again", "container", c.Name, "network", old.Title())
	}
	return nil
}

// definedPools are a definition's pools as Docker tells them of a network.
func definedPools(def store.Definition) []pool.Data {
	var pools []pool.Data
	for _, p := range def.Pools {
		pools = append(pools, pool.Data{Space: pool.LocalSpace, Subnet: p.Subnet, Gateway: p.Gateway, Aux: p.Aux})
	}
	return pools
}
