package driver

import (
	"context"
	"slices"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/option"
)

// NetworkReport is one network of this host, for people.
type NetworkReport struct {
	ID        string // the engine's network id
	UUID      string // of the definition
	Name      string // "" until the engine told it
	Stage     journal.Stage
	Why       string // it is out of step, or has no replica; "" when all is well
	Scope     string
	Parents   []string // in use by containers now
	Links     []string // VLAN links and dummies made or used for it here
	Pools     []store.Pool
	Endpoints int
}

// Report lists this host's networks, and the definitions it could not make.
func (d *Driver) Report() []NetworkReport {
	var reports []NetworkReport
	for _, n := range d.state.Networks() {
		if !n.IsManager() {
			reports = append(reports, d.report(n))
		}
	}
	definitions, _ := d.tables.networks.Rows()
	for about, failed := range d.troubles.List() {
		for _, def := range definitions {
			if def.Record.UUID == about.Of {
				reports = append(reports, NetworkReport{UUID: about.Of, Name: def.Record.Name, Scope: string(def.Record.Scope), Why: failed.Why})
			}
		}
	}
	return reports
}

func (d *Driver) report(n journal.Network) NetworkReport {
	r := NetworkReport{ID: n.ID, UUID: n.UUID, Name: n.Name, Stage: n.Stage, Why: n.Why, Scope: scopeOf(n), Links: n.Links, Pools: n.Pools}
	for _, e := range d.state.EndpointsOf(n.ID) {
		r.Endpoints++
		if e.Parent != "" && !slices.Contains(r.Parents, e.Parent) {
			r.Parents = append(r.Parents, e.Parent)
		}
	}
	return r
}

// scopeOf is how far the network really reaches; Docker shows "local" for
// every network of a socket plugin.
func scopeOf(n journal.Network) string {
	switch n.Stage {
	case journal.StageLocal, journal.StageConflict, journal.StageOrphaned:
		return string(option.ScopeLocal)
	case journal.StageSwarm:
		return string(store.ScopeSwarm)
	}
	return string(option.ScopeGlobal)
}

// FailedStarts lists this host's containers on gvlan networks that their
// restart policy wants running and whose last start failed: dockerd tries
// once and never again.
func (d *Driver) FailedStarts(ctx context.Context) ([]engine.ContainerDetail, error) {
	containers, err := d.cfg.Engine.Containers(ctx)
	if err != nil {
		return nil, err
	}
	var failed []engine.ContainerDetail
	for _, c := range containers {
		if c.State == engine.StateRunning || !d.refersToOurs(c) {
			continue
		}
		full, err := d.cfg.Engine.Container(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		if full.Error != "" && (full.RestartPolicy == "always" || full.RestartPolicy == "unless-stopped") {
			failed = append(failed, full)
		}
	}
	return failed, nil
}

func (d *Driver) refersToOurs(c engine.Container) bool {
	return slices.ContainsFunc(c.Attachments, func(a engine.Attachment) bool {
		_, ours := d.state.Network(a.NetworkID)
		return ours
	})
}

// RestartFailed starts them again, and says how each went.
func (d *Driver) RestartFailed(ctx context.Context) error {
	failed, err := d.FailedStarts(ctx)
	if err != nil {
		return err
	}
	for _, c := range failed {
		if err := d.cfg.Engine.StartContainer(ctx, c.ID); err != nil {
			d.log.Warn("a container whose start had failed fails again", "container", c.Name, "err", err)
			continue
		}
		d.log.Info("started a container again whose start had failed", "container", c.Name)
	}
	return nil
}
