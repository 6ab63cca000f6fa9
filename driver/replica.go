package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/plan"
	"gvlan/driver/trouble"
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
	v.Journal = d.state.Networks()
	v.Missing = plan.Unlisted(*v, d.missing)
	d.missing = v.Missing
	v.Users = plan.Users(containers, v.Engine, v.Journal)
	v.Kept = d.stopped.look(containers, *v, made, d.state.Endpoint)
	d.avoid(*v)
	return d.publishRefs(ctx, *v)
}
