package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
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
			d.troubles.tell(d.log, matter{what: "replicas"}, err)
			again = time.Second
		} else {
			d.troubles.over(matter{what: "replicas"})
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
			d.log.Warn("could not read the engine's labels", "error", err)
			d.seen.back() // asks for them again
		}
	}
	for range maxRounds {
		v, ready, err := d.look(ctx)
		if err != nil || !ready {
			return time.Second, err // nothing tells when the store is trusted again
		}
		d.troubles.only(v.knows)
		if err := d.adoptLocals(v); err != nil {
			return 0, err
		}
		d.lookAtClashes(v)
		steps := plan(v)
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
func (d *Driver) actAll(ctx context.Context, steps []step) error {
	var failed error
	for _, s := range steps {
		err := d.act(ctx, s)
		if err == nil {
			continue
		}
		failed = errors.Join(failed, fmt.Errorf("%s network %s: %w", s.do, s.title(), err))
		if ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFenced) || errors.Is(err, engine.ErrUnavailable) {
			break
		}
	}
	return failed
}

// nextLook is soon while a wait of the plan runs.
func (d *Driver) nextLook(v view) time.Duration {
	for _, n := range v.journal {
		if n.Stage == StageGone || n.Stage == StageSeen {
			return 250 * time.Millisecond
		}
	}
	if d.troubles.any() || len(v.missing) > 0 {
		return time.Second
	}
	return resyncEvery
}

// look collects a view. It is not ready while the engine or the store does
// not answer, or the store is not trusted: then nothing may be concluded.
func (d *Driver) look(ctx context.Context) (view, bool, error) {
	definitions, ok1 := d.tables.networks.all()
	tombstones, ok2 := d.tables.tombstones.all()
	removals, ok3 := d.tables.removals.all()
	refs, ok4 := d.tables.refs.all()
	live, ok5 := d.tables.live.all()
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || d.self.Trusted() != nil {
		return view{}, false, nil
	}
	v := view{
		node: d.self.Node(), now: d.milliseconds(), hosts: d.hosts(),
		definitions: byName(definitions), tombstones: byUUID(tombstones),
		removals: byNode(removals), refs: records(refs), live: namesOf(live),
		waiting: d.troubles.waiting, swarmOnly: d.cfg.Swarm,
	}
	v.pruned, v.deleted = d.seen.times()
	if err := d.lookAtEngine(ctx, &v); err != nil {
		if errors.Is(err, engine.ErrUnavailable) {
			return view{}, false, nil
		}
		return view{}, false, err
	}
	return v, true, nil
}

// knows tells whether there is a definition of that uuid, or a network of that
// id.
func (v view) knows(id string) bool {
	_, defined := v.byUUID(id)
	return defined || slices.ContainsFunc(v.journal, func(n hostNetwork) bool { return n.ID == id })
}

// lookAtEngine adds what the engine has. The journal is read after the
// engine's list, so that a network made in between is known to both.
func (d *Driver) lookAtEngine(ctx context.Context, v *view) error {
	made := d.stopped.made()
	containers, err := d.cfg.Engine.Containers(ctx)
	if err != nil {
		return err
	}
	networks, err := d.cfg.Engine.Networks(ctx, "")
	if err != nil {
		return err
	}
	d.sortNetworks(v, networks)
	v.journal = d.state.allNetworks()
	v.missing = unlisted(*v, d.missing)
	d.missing = v.missing
	v.users = users(containers, v.engine, v.journal)
	v.kept = d.stopped.look(containers, *v, made, d.state.endpoint)
	d.avoid(*v)
	return d.publishRefs(ctx, *v)
}

// sortNetworks tells the networks this driver replicates from the swarm's and
// from everybody else's.
func (d *Driver) sortNetworks(v *view, networks []engine.Network) {
	v.engine, v.swarm, v.others = map[string]engine.Network{}, map[string]engine.Network{}, map[string]string{}
	for _, n := range networks {
		switch {
		case n.Driver == d.cfg.Name && n.Scope == engine.ScopeLocal && !n.ConfigOnly:
			v.engine[n.ID] = n
			continue
		case n.Driver == d.cfg.Name && n.Scope == engine.ScopeSwarm:
			v.swarm[n.ID] = n
		}
		v.others[n.Name] = n.Driver
	}
}

// unlisted gives the networks of the journal that the engine does not list,
// with when that was first seen.
func unlisted(v view, before map[string]int64) map[string]int64 {
	since := map[string]int64{}
	for _, n := range v.journal {
		if _, listed := v.engine[n.ID]; listed {
			continue
		}
		since[n.ID] = v.now
		if first, ok := before[n.ID]; ok {
			since[n.ID] = first
		}
	}
	return since
}

// users lists the containers that refer to each network, running or stopped.
// A container that never ran knows its network by name only.
func users(containers []engine.Container, networks map[string]engine.Network, journal []hostNetwork) map[string][]string {
	byName := map[string]string{}
	for _, n := range journal {
		if n.Name != "" {
			byName[n.Name] = n.ID
		}
	}
	for id, n := range networks {
		byName[n.Name] = id
	}
	refer := map[string][]string{}
	for _, c := range containers {
		for _, a := range c.Attachments {
			id := a.NetworkID
			if id == "" {
				id = byName[a.Network]
			}
			if id != "" && !slices.Contains(refer[id], c.Name) {
				refer[id] = append(refer[id], c.Name)
			}
		}
	}
	return refer
}

func byName(rows map[string]row[store.Network]) map[string]row[store.Network] {
	named := make(map[string]row[store.Network], len(rows))
	for _, r := range rows {
		named[r.Record.Name] = r
	}
	return named
}

func byUUID(rows map[string]row[store.Tombstone]) map[string]row[store.Tombstone] {
	graves := make(map[string]row[store.Tombstone], len(rows))
	for _, r := range rows {
		graves[r.Record.Network.UUID] = r
	}
	return graves
}

func byNode(rows map[string]row[store.Removal]) map[string]map[string]store.Removal {
	answers := map[string]map[string]store.Removal{}
	for key, r := range rows {
		uuid := store.RemovalOf(key)
		if answers[uuid] == nil {
			answers[uuid] = map[string]store.Removal{}
		}
		answers[uuid][store.NameOf(key)] = r.Record
	}
	return answers
}

func records[T any](rows map[string]row[T]) map[string]T {
	plain := make(map[string]T, len(rows))
	for key, r := range rows {
		plain[store.NameOf(key)] = r.Record
	}
	return plain
}

func namesOf[T any](rows map[string]row[T]) []string {
	var names []string
	for key := range rows {
		names = append(names, store.NameOf(key))
	}
	slices.Sort(names)
	return names
}

// title is what messages call the step's network.
func (s step) title() string {
	if s.definition.Record.Name != "" {
		return s.definition.Record.Name
	}
	if s.engine.Name != "" {
		return s.engine.Name
	}
	return s.network.title()
}
