package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/failpoint"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/plan"
	"gvlan/driver/publish"
	"gvlan/driver/trouble"
	"gvlan/driver/visible"
	"gvlan/ipam/pool"
)

// adoptLocals takes back the local networks of a lost journal that the engine
// still has.
func (rs *Replicas) adoptLocals(v plan.View) error {
	rs.node.Inherited.Mu.Lock()
	defer rs.node.Inherited.Mu.Unlock()
	for len(rs.node.Inherited.Locals) > 0 {
		told := rs.node.Inherited.Locals[0]
		e, listed := v.Engine[told.Engine]
		known := slices.ContainsFunc(v.Journal, func(n journal.Network) bool { return n.ID == told.Engine })
		if listed && !known && e.Labels[plan.ReplicaLabel] == "" {
			if err := rs.adoptLocal(told, e); err != nil {
				return fmt.Errorf("take back the local network %s: %w", e.Name, err)
			}
		}
		rs.node.Inherited.Locals = rs.node.Inherited.Locals[1:]
		host.Tell(rs.Changed)
	}
	return nil
}

func (rs *Replicas) adoptLocal(told store.NodeNetwork, e engine.Network) error {
	n := plan.Restored(store.Network{UUID: told.UUID, Created: store.Definition{IPv4: e.IPv4, Segment: told.Segment, Pools: told.Pools}}, e)
	n.Stage, n.Foreign, n.Links, n.Since = journal.StageLocal, e.IPAM.Driver != rs.Cfg.Name, told.Links, rs.Milliseconds()
	err := rs.Memory.Change(func(c *journal.Change) error {
		if !n.Foreign {
			rs.Addresses.Attach(c, n.ID, definedPools(store.Definition{Pools: n.Pools}), rs.Now())
		}
		c.Put(n)
		return nil
	})
	if err != nil {
		return err
	}
	host.Tell(rs.Reach) // it may have been set on or off
	rs.Log.Warn("took back a local network that the journal did not know", "network", e.Name)
	rs.containers.Refresh()
	return nil
}

// Replicas keeps definitions and this engine's networks together.
type Replicas struct {
	*host.Host
	sandboxes  *endpoint.Sandboxes
	containers *publish.Containers
	node       *publish.Node
	networks   *Networks
	swarm      *Swarm
	acting     sync.Mutex           // held through one look and what follows from it
	missing    map[string]time.Time // as View.Missing; under acting
	withdrawn  bool                 // see Withdraw; under acting
	Clashes    trouble.Findings     // networks elsewhere that lost their name to one of this node
}

// NewReplicas has looked at nothing yet.
func NewReplicas(h *host.Host, s *endpoint.Sandboxes, c *publish.Containers, p *publish.Node, n *Networks, w *Swarm) *Replicas {
	return &Replicas{Host: h, sandboxes: s, containers: c, node: p, networks: n, swarm: w}
}

// SyncReplicas keeps definitions and this engine's networks together until
// ctx ends: it looks whenever it is told that something changed, and every
// host.ResyncEvery.
func (rs *Replicas) SyncReplicas(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rs.Wake:
		case <-tick.C:
		}
		again, err := rs.syncOnce(ctx)
		rs.Troubles.Settle(ctx, trouble.Matter{What: "keeping this host's networks as the cluster has them", Then: "what is made, changed or removed elsewhere is not so here"}, err)
		if err != nil {
			again = time.Second
		}
		tick.Reset(again)
	}
}

// maxRounds bounds how often one look repeats because its steps changed what
// it saw.
const maxRounds = 8

// syncOnce looks and acts until nothing is left to do, and says when to look
// again.
func (rs *Replicas) syncOnce(ctx context.Context) (time.Duration, error) {
	rs.acting.Lock()
	defer rs.acting.Unlock()
	if rs.withdrawn {
		return host.ResyncEvery, nil
	}
	if rs.Seen.WantsLabels() {
		if err := rs.learnLabels(ctx); err != nil {
			rs.Log.Warn("the engine's labels cannot be read: read again at the next look", "err", err)
			rs.Seen.Back() // asks for them again
		}
	}
	for range maxRounds {
		v, ready, err := rs.look(ctx)
		if err != nil || !ready {
			return time.Second, err // nothing tells when the store is trusted again
		}
		rs.Troubles.Only(v.Knows)
		if err := rs.adoptLocals(v); err != nil {
			return 0, err
		}
		rs.lookAtClashes(v)
		steps := plan.Steps(v)
		if len(steps) == 0 {
			return rs.nextLook(v), nil
		}
		if err := rs.actAll(ctx, steps); err != nil {
			return 0, err
		}
		host.Tell(rs.Changed)
	}
	return time.Second, nil
}

// actAll does the steps of one plan. One network's failure keeps no other
// waiting; a store or an engine that does not answer ends the round.
func (rs *Replicas) actAll(ctx context.Context, steps []plan.Step) error {
	var failed error
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		if creates := together(steps[i:]); len(creates) > 1 && ctx.Err() == nil {
			if failed = errors.Join(failed, rs.replicateTogether(ctx, creates)); ctx.Err() != nil {
				break
			}
			i += len(creates) - 1
			continue
		}
		err := rs.act(ctx, s)
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
func (rs *Replicas) nextLook(v plan.View) time.Duration {
	for _, n := range v.Journal {
		if n.Stage == journal.StageGone || n.Stage == journal.StageSeen {
			return 250 * time.Millisecond
		}
	}
	if rs.Troubles.Any() || len(v.Missing) > 0 {
		return time.Second
	}
	return host.ResyncEvery
}

// look collects a view. It is not ready while the engine or the store does
// not answer, or the store is not trusted: then nothing may be concluded.
func (rs *Replicas) look(ctx context.Context) (plan.View, bool, error) {
	definitions, ok1 := rs.Tables.Networks.Rows()
	tombstones, ok2 := rs.Tables.Tombstones.Rows()
	removals, ok3 := rs.Tables.Removals.Rows()
	refs, ok4 := rs.Tables.Refs.Rows()
	live, ok5 := rs.Tables.Live.Rows()
	epochs, ok6 := rs.Tables.Epochs.Rows()
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || rs.Self.Trusted() != nil {
		return plan.View{}, false, nil
	}
	v := plan.View{
		Node: rs.Self.Node(), Now: rs.Now(), Hosts: rs.Hosts(),
		Definitions: plan.ByName(definitions), Tombstones: plan.ByUUID(tombstones),
		Removals: plan.ByNode(removals), Refs: plan.Records(refs), Live: plan.NamesOf(live),
		Known: plan.InCluster(epochs), Imports: imported(rs.Addresses.Joined()),
		Waiting: rs.Troubles.Waiting, SwarmOnly: rs.Cfg.Swarm,
	}
	v.Pruned, v.Deleted = rs.Seen.Times()
	if err := rs.lookAtEngine(ctx, &v); err != nil {
		if errors.Is(err, engine.ErrUnavailable) {
			return plan.View{}, false, nil
		}
		return plan.View{}, false, err
	}
	return v, true, nil
}

// lookAtEngine adds what the engine has. The journal is read after the
// engine's list, so that a network made in between is known to both.
func (rs *Replicas) lookAtEngine(ctx context.Context, v *plan.View) error {
	made := rs.node.Stopped.Made()
	containers, err := rs.Cfg.Engine.Containers(ctx)
	if err != nil {
		return err
	}
	networks, err := rs.Cfg.Engine.Networks(ctx, "")
	if err != nil {
		return err
	}
	v.List(networks, rs.Cfg.Name)
	v.Journal = rs.Memory.Networks()
	v.Missing = plan.Unlisted(*v, rs.missing)
	rs.missing = v.Missing
	v.Users = plan.Users(containers, v.Engine, v.Journal)
	v.Kept = rs.node.Stopped.Look(containers, *v, made, rs.Memory.Endpoint, rs.Addresses.OptionsOf)
	rs.node.Avoid(*v)
	return rs.node.PublishRefs(ctx, *v)
}

// act does one step. An error means that nothing more should be done before
// looking again.
func (rs *Replicas) act(ctx context.Context, s plan.Step) error {
	switch s.Do {
	case plan.Commit:
		return rs.commit(ctx, s)
	case plan.Bind, plan.Adopt:
		return rs.bindDefinition(ctx, s)
	case plan.Create:
		return rs.replicate(ctx, s)
	case plan.ComeBack:
		return rs.comeBack(ctx, s)
	case plan.Remove:
		return rs.removeReplica(ctx, s)
	case plan.Forget:
		return rs.forget(ctx, s.Network)
	case plan.Keep:
		return rs.keep(s)
	case plan.NoteStage:
		return rs.noteStage(s)
	case plan.Override:
		return rs.takeOverrides(s)
	case plan.Renew:
		return rs.renew(ctx, s)
	case plan.Retire:
		return rs.retire(ctx, s)
	case plan.Answer:
		return rs.answer(ctx, s)
	case plan.Revive:
		return rs.revive(ctx, s)
	case plan.Bury:
		return rs.bury(ctx, s)
	case plan.SwarmCommit:
		return rs.swarm.commitSwarm(ctx, s)
	case plan.SwarmBind:
		return rs.swarm.bindSwarm(s)
	case plan.SwarmFree:
		return rs.swarm.freeSwarm(ctx, s)
	case plan.Complain:
		rs.Troubles.Tell(plan.NameTaken(s.Definition.Record), fmt.Errorf("make network %s on this host: %w: %s", s.Title(), engine.ErrNameTaken, s.Why))
		return nil
	case plan.Settle:
		return rs.settle(ctx, s)
	case plan.Clear:
		return rs.clear(ctx, s)
	case plan.Sweep:
		return rs.sweepAnswers(ctx, s)
	case plan.Detach:
		return rs.detach(ctx, s)
	}
	return nil
}

// commit makes the definition of a network that Docker made here. Whoever
// commits a name first has it; losing is seen at the next look.
func (rs *Replicas) commit(ctx context.Context, s plan.Step) error {
	failpoint.Reach("commit: begun")
	for _, subnet := range plan.DroppedSubnets(s.Engine, s.Network) {
		rs.Log.Warn("Docker ignored a subnet of the network: an IPv6 subnet needs --ipv6", "network", s.Engine.Name, "subnet", subnet)
	}
	var more []store.Cond
	if made := s.Engine.Labels[plan.ReplicaLabel]; made != "" && made != s.Network.UUID {
		// The engine has it as a replica of a definition that it was never bound
		// to: if that was removed meanwhile, this must not bring it back.
		more = append(more, store.Absent(store.TombstoneKey(made)))
	}
	def, done, err := rs.networks.define(ctx, s, store.ScopeGlobal, more...)
	if err != nil || !done {
		return err
	}
	failpoint.Reach("commit: defined")
	rs.Tables.Networks.Await(def.Modified)
	rs.Log.Info("network is defined for the whole cluster", "network", def.Record.Name, "uuid", def.Record.UUID)
	if rs.IsSolo() {
		rs.Log.Warn(host.SoloWarning, "network", def.Record.Name)
	}
	s.Definition = def
	return rs.BindTo(s, journal.StageCommitted, rs.Milliseconds())
}

// bindDefinition ties this host's network to an equal definition.
func (rs *Replicas) bindDefinition(ctx context.Context, s plan.Step) error {
	if s.Do == plan.Adopt {
		err := rs.Memory.Change(func(c *journal.Change) error {
			rs.Addresses.Attach(c, s.Network.ID, definedPools(s.Definition.Record.Created), rs.Now())
			c.Put(s.Network)
			return nil
		})
		if err != nil {
			return err
		}
		failpoint.Reach("adopt: journaled")
		rs.containers.Refresh() // its endpoints are taken back with their names
		rs.Log.Warn("took back a network that the journal did not know", "network", s.Engine.Name)
	}
	def := s.Definition.Record
	if extra := plan.ExtraOptions(def.Created, plan.Define(s.Engine, s.Network)); len(extra) > 0 {
		rs.Log.Warn("options that this host's default-network-opts added beyond the definition are ignored", "network", def.Name, "options", strings.Join(extra, ", "))
	}
	stage := journal.StageReplica
	if def.Origin == rs.Self.Node() {
		stage = journal.StageCommitted
	}
	return rs.share(ctx, s, stage)
}

// share binds the network after its reservations (gateway, aux) were put
// under the definition's uuid, beside those of every other host.
func (rs *Replicas) share(ctx context.Context, s plan.Step, stage journal.Stage) error {
	conds, ops, err := rs.Addresses.ReserveFor(ctx, s.Definition.Record.UUID, s.Network.ID)
	if err != nil {
		return err
	}
	if len(ops) > 0 {
		conds = append(conds, store.SameLife(s.Definition.Key, s.Definition.Created))
		res, err := rs.Cfg.KV.Commit(ctx, store.Txn{If: conds, Then: ops})
		if err != nil || !res.Done {
			return err // not done: a reservation moved, the next look tries again
		}
		failpoint.Reach("share: reserved")
	}
	return rs.BindTo(s, stage, rs.Milliseconds())
}

// BindTo ties the network and its addresses to the definition.
func (rs *Replicas) BindTo(s plan.Step, stage journal.Stage, since int64) error {
	def := s.Definition.Record
	err := rs.Memory.Change(func(c *journal.Change) error {
		n, ok := c.Network(s.Network.ID)
		if !ok {
			return nil // Docker deleted it since the look
		}
		rs.Addresses.Adopt(c, n.ID, def, s.Definition.Modified)
		n.UUID, n.Name, n.Overrides, n.Renewed = def.UUID, def.Name, def.Overrides, def.Renewed
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
		rs.sandboxes.RenameSandboxes(had)
	}
	rs.containers.Refresh() // its endpoints' records name the network
	return nil
}

// replicate makes the replica of a definition on this engine.
func (rs *Replicas) replicate(ctx context.Context, s plan.Step) error {
	_, err := rs.makeReplica(ctx, s.Definition)
	if err != nil {
		rs.Troubles.Tell(plan.ReplicaOf(s.Definition.Record), fmt.Errorf("make network %s on this host: %w", s.Definition.Record.Name, err))
		return nil
	}
	rs.Troubles.Over(plan.ReplicaOf(s.Definition.Record))
	rs.Troubles.Over(plan.NameTaken(s.Definition.Record))
	rs.Log.Info("made the network on this host", "network", s.Definition.Record.Name, "origin", rs.Hosts().Of(s.Definition.Record.Origin))
	return nil
}

// replicasAtOnce is how many replicas the engine is asked for at once. Each is
// a dozen waits, for the engine's disk, the journal's and the store, one after
// the other, and a host may find a thousand definitions.
const replicasAtOnce = 4

// together are the steps at the beginning that make replicas and may be done at
// once. No two have a subnet in common: by nothing else does Docker say which
// pool it opened for which network.
func together(steps []plan.Step) []plan.Step {
	subnets := map[netip.Prefix]bool{}
	for i, s := range steps {
		if s.Do != plan.Create || slices.ContainsFunc(s.Definition.Record.Created.Pools, func(p store.Pool) bool { return subnets[p.Subnet.Masked()] }) {
			return steps[:i]
		}
		for _, p := range s.Definition.Record.Created.Pools {
			subnets[p.Subnet.Masked()] = true
		}
	}
	return steps
}

// replicateTogether makes replicas, some at once, begun in order.
func (rs *Replicas) replicateTogether(ctx context.Context, creates []plan.Step) error {
	var group errgroup.Group
	group.SetLimit(replicasAtOnce)
	for _, s := range creates {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil // the others are made after the next start
			}
			return rs.act(ctx, s)
		})
	}
	return group.Wait()
}

// makeReplica asks the engine, which calls the plugin as for any user, and
// binds what came of it.
func (rs *Replicas) makeReplica(ctx context.Context, def store.Row[store.Network]) (string, error) {
	rs.networks.making.begin(def.Record)
	id, err := rs.Cfg.Engine.CreateNetwork(ctx, plan.Request(rs.Cfg.Name, def.Record))
	rs.networks.making.end(def.Record)
	if err != nil {
		return "", err
	}
	failpoint.Reach("replica: made")
	n, ok := rs.Memory.Network(id)
	if !ok {
		return "", fmt.Errorf("%w: the engine made it (%s) without asking this agent", endpoint.ErrUnknownNetwork, visible.ID(id))
	}
	return id, rs.share(ctx, plan.Step{Network: n, Definition: def}, journal.StageReplica)
}

// removeReplica takes the network off this engine. One that turns out to be
// in use stays: the next look sees by what.
func (rs *Replicas) removeReplica(ctx context.Context, s plan.Step) error {
	err := rs.Memory.ChangeNetwork(s.Network.ID, func(n *journal.Network) { n.Removing = true })
	if err != nil {
		return err
	}
	failpoint.Reach("replica: marked")
	err = rs.Cfg.Engine.RemoveNetwork(ctx, s.Network.ID)
	if errors.Is(err, engine.ErrInUse) {
		rs.Log.Warn("the engine does not remove the network: it stays on this host", "network", s.Engine.Name, "err", err)
		return rs.stayed(ctx, s)
	}
	if err != nil {
		return err
	}
	failpoint.Reach("replica: removed")
	rs.Log.Info("removed the network from this host", "network", s.Engine.Name, "why", s.Why)
	return rs.networks.forget(s.Network)
}

// stayed undoes the mark of a removal that the engine refused; where a
// definition waits for this node's answer, that is a veto.
func (rs *Replicas) stayed(ctx context.Context, s plan.Step) error {
	err := rs.Memory.ChangeNetwork(s.Network.ID, func(n *journal.Network) { n.Removing = false })
	if err != nil || s.Definition.Record.State != store.NetworkRemoving {
		return err
	}
	s.Why = fmt.Sprintf("the engine of node %s says it is in use", rs.Cfg.Host())
	return rs.answer(ctx, s)
}

// noteStage journals a stage and says why, once.
func (rs *Replicas) noteStage(s plan.Step) error {
	if s.Why != "" {
		rs.Log.Warn("network is out of step with the cluster", "network", s.Engine.Name, "stage", s.Stage, "why", s.Why)
	}
	unused := len(rs.Memory.EndpointsOf(s.Network.ID)) == 0
	return rs.Memory.ChangeNetwork(s.Network.ID, func(n *journal.Network) {
		noteClash(n, s.Why, unused)
		n.Name, n.Stage, n.Why = s.Engine.Name, s.Stage, s.Why
	})
}

// takeOverrides journals what `network set` changed.
func (rs *Replicas) takeOverrides(s plan.Step) error {
	return rs.BindTo(s, s.Network.Stage, s.Network.Since)
}

// forget drops a network the engine does not have, and closes its pools: a
// create that failed half-way leaves them open.
func (rs *Replicas) forget(ctx context.Context, n journal.Network) error {
	if n.IsManager() {
		if err := rs.swarm.endClaims(ctx, n); err != nil {
			return err
		}
	}
	return rs.networks.forget(n)
}

// keep takes a network back whose deletion Docker gave up: it did not hear
// the answer, told its user of a failure, and lists the network as before.
func (rs *Replicas) keep(s plan.Step) error {
	kept := false
	err := rs.Memory.Change(func(c *journal.Change) error {
		n, ok := c.Network(s.Network.ID)
		if !ok {
			return nil
		}
		rs.Addresses.Attach(c, n.ID, definedPools(store.Definition{Pools: n.Pools}), rs.Now())
		n.Stage, n.Since = journal.StageSeen, rs.Milliseconds()
		c.Put(n)
		kept = true
		return nil
	})
	failpoint.Reach("keep: journaled")
	if err == nil && kept {
		rs.Log.Warn("Docker kept a network that it had begun to remove", "network", s.Network.Title())
	}
	return err
}

// comeBack makes a network again that this engine lost, under a new id, and
// attaches this host's stopped containers to it: Docker starts them by the
// old id, which no longer exists. The step has the network's new one when an
// earlier try made it and did not come to its end.
func (rs *Replicas) comeBack(ctx context.Context, s plan.Step) error {
	about := plan.ReplicaOf(s.Definition.Record)
	if rs.Troubles.Waiting(about) {
		return nil
	}
	id := s.Engine.ID
	if id == "" {
		made, err := rs.makeReplica(ctx, s.Definition)
		if err != nil {
			rs.Troubles.Tell(about, fmt.Errorf("bring network %s back on this host: %w", s.Definition.Record.Name, err))
			return nil
		}
		id = made
	}
	failpoint.Reach("come back: made")
	rs.Troubles.Over(about)
	if err := rs.reattach(ctx, s.Network, id); err != nil {
		return err
	}
	failpoint.Reach("come back: attached")
	rs.Log.Warn("brought the network back on this host", "network", s.Definition.Record.Name, "why", s.Why)
	return rs.networks.forget(s.Network)
}

// reattach moves the stopped containers of a network's old id to its new one
// with the settings they had.
func (rs *Replicas) reattach(ctx context.Context, old journal.Network, id string) error {
	containers, err := rs.Cfg.Engine.Containers(ctx)
	if err != nil {
		return err
	}
	for _, c := range containers {
		i := slices.IndexFunc(c.Attachments, func(a engine.Attachment) bool { return a.NetworkID == old.ID })
		if i < 0 {
			continue
		}
		full, err := rs.Cfg.Engine.Container(ctx, c.ID)
		if err != nil {
			return err
		}
		if err := rs.moveAttachment(ctx, full, old, id); err != nil {
			return fmt.Errorf("attach container %s to network %s again: %w", c.Name, old.Title(), err)
		}
	}
	return nil
}

func (rs *Replicas) moveAttachment(ctx context.Context, c engine.ContainerDetail, old journal.Network, id string) error {
	for _, a := range c.Attachments {
		if a.NetworkID != old.ID {
			continue
		}
		if mac := endpoint.AskedMAC(c.ID, a, old); mac != nil && old.Options.Kind != link.Ipvlan {
			a.Settings.DriverOpts = option.WithMAC(a.Settings.DriverOpts, mac)
		}
		// One call replaces the stale attachment of a stopped container: there
		// is no moment at which it refers to no network.
		if err := rs.Cfg.Engine.Connect(ctx, id, c.ID, a.Settings); err != nil {
			return err
		}
		failpoint.Reach("come back: one attached")
		rs.Log.Info("attached a stopped container to the network again", "container", c.Name, "network", old.Title())
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
