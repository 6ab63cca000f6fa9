package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/metrics"
	"gvlan/driver/engine"
	"gvlan/driver/trouble"
)

// openMetrics makes what tells Prometheus and supervisors of this host, of all
// the parts.
func (a *Agent) openMetrics() {
	a.metrics.Collect(a.sources())
	a.conditions = conditions{
		{Name: "store", Ask: a.storeAnswers},
		{Name: "engine", Ask: a.engine.Ready},
		{Name: "parents", Ask: a.parentsFound},
	}
	a.exporter = &metrics.Server{
		Listen: a.config.Metrics.Listen, Profile: a.config.Metrics.Profile, Metrics: a.metrics,
		Live: a.alive, Ready: append(a.conditions, metrics.Check{Name: "plugin", Ask: a.alive}), Log: a.log,
	}
}

// sources are what a scrape asks.
func (a *Agent) sources() metrics.Sources {
	s := metrics.Sources{
		Now: time.Now, Warnings: a.warnings,
		Engine: a.driver.Seen.Absences, Rounds: a.driver.Rounds, Progress: a.driver.Progress, Describe: a.driver.Node.Describe,
		Networks: a.memory.Networks, Endpoints: a.memory.Endpoints, Leases: a.memory.Leases,
		Requests: a.addresses.Counts, Pools: a.addresses.Usage, Pending: a.addresses.Pending, Conflicts: a.addresses.Conflicts,
		Trusted: a.session.Trusted, Seen: a.session.Seen, Known: a.nodes.directory.Known, Nodes: a.nodes.roster().Rows,
		Zones: a.names.zone.Counts,
	}
	if a.nodes.peers != nil {
		s.Answering, s.Gossip = a.nodes.peers.Answering, a.nodes.peers.Counters
	}
	if a.truth.own != nil {
		s.Members = a.storeMembers
	}
	return s
}

// warnings counts what `gvlan status` says is wrong on this host and no other
// metric tells of.
func (a *Agent) warnings() int {
	n := len(a.driver.Warnings()) + len(a.others()) + int(a.unstarted.n.Load())
	if a.truth.own != nil {
		n += len(a.truth.own.Warnings(api.CallNodes(a.nodes.roster().Names())))
	}
	return n
}

// others are what is wrong with what is the agent's own. That etcd does not answer, or
// is not trusted, people are told of once.
func (a *Agent) others() []string {
	ofNetwork := func(string) (string, bool) { return "", false }
	return slices.Concat(a.names.warnings(), a.routers.warnings(), a.pages.warnings(), a.troubles.Lasting(ofNetwork, store.IsUnusable))
}

// unstarted is how many containers the engine failed to start at the last look: a
// scrape asks the engine nothing.
type unstarted struct{ n atomic.Int64 }

const (
	// startsEvery is how often they are looked for, and startsLimit how long a look
	// may take: it asks for each container that does not run.
	startsEvery = 20 * time.Second
	startsLimit = 10 * time.Second
)

// look counts them from time to time until ctx ends. While the engine does not
// answer the last count stands.
func (u *unstarted) look(ctx context.Context, failed func(context.Context) ([]engine.ContainerDetail, error)) error {
	for store.Sleep(ctx, startsEvery) {
		asking, cancel := context.WithTimeout(ctx, startsLimit)
		all, err := failed(asking)
		cancel()
		if err == nil {
			u.n.Store(int64(len(all)))
		}
	}
	return nil
}

// storeMembers is what the last look at them found.
func (a *Agent) storeMembers() metrics.Members {
	view, looks := a.truth.own.Health()
	m := metrics.Members{Looked: looks.Done, Failed: looks.Failed}
	for _, member := range view.Members {
		if !member.Answers {
			m.Silent++
			continue
		}
		m.Answering++
		if member.Size > m.Size {
			m.Size, m.InUse, m.Quota = member.Size, member.InUse, member.Quota
		}
	}
	return m
}

// storeAnswers is why no new address would be given now, or nil.
func (a *Agent) storeAnswers(ctx context.Context) error {
	if err := a.session.Trusted(); err != nil {
		return err
	}
	_, err := a.session.Get(ctx, store.MetaKey())
	return err
}

// parentsFound is why containers could not be on the LAN for want of a parent: of
// networks that have containers here, and of all of them where none has one. A
// host need not have one for each network of the cluster.
func (a *Agent) parentsFound(ctx context.Context) error {
	own, err := a.driver.Node.Describe(ctx)
	if err != nil {
		return err
	}
	return withoutParents(own.Networks, func(n store.NodeNetwork) bool { return len(a.memory.EndpointsOf(n.Engine)) > 0 })
}

func withoutParents(networks []store.NodeNetwork, used func(store.NodeNetwork) bool) error {
	var missing, missed []error
	found := false
	for _, n := range networks {
		found = found || n.Parent != ""
		if n.Engine == "" || n.Parent != "" || n.Why == "" {
			continue // it is not here, has one, or needs none
		}
		why := fmt.Errorf("network %s: %s", n.Name, n.Why)
		missing = append(missing, why)
		if used(n) {
			missed = append(missed, why)
		}
	}
	if found {
		return errors.Join(missed...)
	}
	return errors.Join(missing...)
}

// conditions are what containers of this host need, and nobody else tells of.
type conditions []metrics.Check

const (
	// conditionsEvery is how often they are looked at, and conditionsLimit how long
	// a look may take.
	conditionsEvery = 10 * time.Second
	conditionsLimit = 4 * time.Second
)

// tell logs a condition that is not met at two looks, once, and once when it is
// met again, until ctx ends.
func (c conditions) tell(ctx context.Context, book *trouble.Book) error {
	doubtful := map[string]bool{}
	for store.Sleep(ctx, conditionsEvery) {
		for _, check := range c {
			asking, cancel := context.WithTimeout(ctx, conditionsLimit)
			err := check.Ask(asking)
			cancel()
			about := trouble.Matter{What: check.Name}
			if err == nil || doubtful[check.Name] {
				book.Settle(ctx, about, err)
			}
			doubtful[check.Name] = err != nil
		}
	}
	return nil
}
