package metrics

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
)

// Metrics is what one agent tells Prometheus.
type Metrics struct {
	registry *prometheus.Registry
	plugin   calls // by method
	store    calls // by operation
	audits   audits
}

// New has what is counted as it happens; Collect adds what the agent's parts
// know.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		plugin:   newCalls("gvlan_plugin_requests_total", "gvlan_plugin_request_duration_seconds"),
		store:    newCalls("gvlan_store_requests_total", "gvlan_store_request_duration_seconds"),
	}
	m.store.expect([]string{"get", "list", "scan", "commit", "grant", "revoke", "watch"}, answered, unanswered, refused)
	m.audits = newAudits()
	built := named("gvlan_build_info")
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: built.name, Help: built.help, ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()}})
	info.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info, m.plugin.counts, m.plugin.times, m.store.counts, m.store.times,
		m.audits.counts, m.audits.left, m.audits.last,
	)
	return m
}

// Expect has calls of Docker's counted from zero on, so that the first of them is a
// rise too.
func (m *Metrics) Expect(methods []string) { m.plugin.expect(methods, answered, refused) }

// Collect has what the agent's parts know asked for at each scrape.
func (m *Metrics) Collect(of Sources) { m.registry.MustRegister(&collector{of}) }

// How a request ended.
const (
	answered   = "answered"
	unanswered = "unanswered"
	refused    = "refused"
)

// calls are requests of one sort: how they ended, and how long they took.
type calls struct {
	counts *prometheus.CounterVec
	times  *prometheus.HistogramVec
}

// newCalls makes the two families; the durations have the labels that the counts
// have, but for how a request ended.
func newCalls(total, duration string) calls {
	counts, times := named(total), named(duration)
	return calls{
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: counts.name, Help: counts.help}, counts.labels),
		times: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: times.name, Help: times.help,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, // a call of Docker's has 5 s
		}, times.labels),
	}
}

// expect makes counters of requests that there may be.
func (c calls) expect(whats []string, outcomes ...string) {
	for _, what := range whats {
		for _, outcome := range outcomes {
			c.counts.WithLabelValues(what, outcome)
		}
	}
}

func (c calls) note(what, outcome string, took time.Duration) {
	c.counts.WithLabelValues(what, outcome).Inc()
	c.times.WithLabelValues(what).Observe(took.Seconds())
}

// Called is a plugin.Observer.
func (m *Metrics) Called(method string, took time.Duration, err error) {
	outcome := answered
	if err != nil {
		outcome = refused
	}
	m.plugin.note(method, outcome, took)
}

// audits are those that were asked for on this host.
type audits struct {
	counts *prometheus.CounterVec
	left   *prometheus.GaugeVec
	last   prometheus.Gauge
}

func newAudits() audits {
	counts, left, last := named("gvlan_audits_total"), named("gvlan_audit_findings"), named("gvlan_audit_time_seconds")
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: counts.name, Help: counts.help}, counts.labels)
	vec.WithLabelValues("done")
	vec.WithLabelValues("failed")
	return audits{
		counts: vec,
		left:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: left.name, Help: left.help}, left.labels),
		last:   prometheus.NewGauge(prometheus.GaugeOpts{Name: last.name, Help: last.help}),
	}
}

// Audited notes an audit: what is left of what it found, by kind, or why it was
// none; what the last one found then stands.
func (m *Metrics) Audited(left map[string]int, failed error) {
	if failed != nil {
		m.audits.counts.WithLabelValues("failed").Inc()
		return
	}
	m.audits.counts.WithLabelValues("done").Inc()
	m.audits.last.SetToCurrentTime()
	m.audits.left.Reset()
	for kind, n := range left {
		m.audits.left.WithLabelValues(kind).Set(float64(n))
	}
}

// Store has the requests to a store counted.
func (m *Metrics) Store(backend store.Backend) store.Backend {
	return &counted{Backend: backend, calls: m.store}
}

// counted is a store whose requests are counted. Keeping a lease alive is none: it
// is one stream for the agent's life.
type counted struct {
	store.Backend
	calls calls
}

var _ session.Reconnecter = (*counted)(nil)

// Reconnected implements session.Reconnecter: nothing ever comes of a store that
// is none.
func (c *counted) Reconnected() <-chan struct{} {
	if backend, ok := c.Backend.(session.Reconnecter); ok {
		return backend.Reconnected()
	}
	return nil
}

// note counts a request that began then.
func (c *counted) note(operation string, began time.Time, err error) {
	c.calls.note(operation, outcomeOf(err), time.Since(began))
}

// outcomeOf says how a request to the store ended. That a key is absent, or a
// revision compacted, is an answer.
func outcomeOf(err error) string {
	switch {
	case err == nil, errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrCompacted):
		return answered
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return unanswered
	}
	return refused
}

// Get implements store.KV.
func (c *counted) Get(ctx context.Context, key string) (store.Item, error) {
	began := time.Now()
	it, err := c.Backend.Get(ctx, key)
	c.note("get", began, err)
	return it, err
}

// List implements store.KV.
func (c *counted) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	began := time.Now()
	items, rev, err := c.Backend.List(ctx, span)
	c.note("list", began, err)
	return items, rev, err
}

// Scan implements store.KV. Its time has that of who takes the pages.
func (c *counted) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	began := time.Now()
	rev, err := c.Backend.Scan(ctx, span, parts, page)
	c.note("scan", began, err)
	return rev, err
}

// Commit implements store.KV.
func (c *counted) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	began := time.Now()
	res, err := c.Backend.Commit(ctx, txn)
	c.note("commit", began, err)
	return res, err
}

// Grant implements store.Leaser.
func (c *counted) Grant(ctx context.Context, ttl int64) (store.LeaseID, error) {
	began := time.Now()
	id, err := c.Backend.Grant(ctx, ttl)
	c.note("grant", began, err)
	return id, err
}

// Revoke implements store.Leaser.
func (c *counted) Revoke(ctx context.Context, id store.LeaseID) error {
	began := time.Now()
	err := c.Backend.Revoke(ctx, id)
	c.note("revoke", began, err)
	return err
}

// Watch implements store.KV. What is counted is that it stands, at its first
// batch, with how long that took, or why it ended before.
func (c *counted) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		began, stands := time.Now(), false
		for batch, err := range c.Backend.Watch(ctx, span, after) {
			if !stands {
				stands = true
				c.note("watch", began, err)
			}
			if !yield(batch, err) {
				return
			}
		}
	}
}
