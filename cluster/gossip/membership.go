package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"
)

const (
	// leaveTimeout is how long a leave may take to reach a peer. A stop with
	// a leave takes three such at most, and lingerAfterLeave: less than
	// systemd waits before it kills.
	leaveTimeout = 2 * time.Second
	// lingerAfterLeave: probes are answered for so long after a leave, until
	// everybody has heard of it.
	lingerAfterLeave = time.Second
	// updateTimeout is how long new metadata may take to reach a peer.
	updateTimeout = 2 * time.Second
	// eventLimit is how many members may wait for the reader of Events.
	eventLimit = 1024
)

// Membership is this node among its peers. Make one with New and keep it
// going with Run; everything else may be called at any time, also before Run
// and after it.
type Membership struct {
	config    Config
	counts    *counters
	table     *table
	events    *feed[Event] // for the reader of Events
	lines     *feed[Event] // for the log
	strangers *strangers
	cache     *cache
	news      chan struct{} // holds one: the metadata changed

	mu      sync.Mutex
	metaNow Meta
	ring    uint32                 // RingID of the installed keys
	list    *memberlist.Memberlist // nil while not running
	left    bool
	leaves  sync.WaitGroup // leaves under way, which memberlist must outlive
}

// New makes a Membership. It opens nothing: Run does.
func New(c Config) (*Membership, error) {
	c, err := c.check()
	if err != nil {
		return nil, err
	}
	return &Membership{
		config:    c,
		counts:    &counters{},
		table:     newTable(time.Now),
		events:    newFeed[Event](eventLimit),
		lines:     newFeed[Event](eventLimit),
		strangers: newStrangers(time.Now),
		cache:     &cache{path: c.Cache},
		news:      make(chan struct{}, 1),
		metaNow:   c.Meta,
	}, nil
}

// Run binds the port, waits until etcd or the cache has told cluster and
// keys, joins the peers, and keeps joined until ctx ends. It then stops at
// once, as for an upgrade, unless Leave was called before: then it goes on
// answering probes for a second. The error is nil when ctx ended; otherwise
// it says in plain words why the port cannot be had.
func (m *Membership) Run(ctx context.Context) error {
	if m.config.Transport == nil {
		if err := checkPort(ctx, m.config.Address, m.config.Port); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { m.events.serve(ctx); return nil })
	group.Go(func() error { m.lines.serve(ctx); return nil })
	group.Go(func() error { m.logLines(ctx); return nil })
	group.Go(func() error { return m.stay(ctx) })
	return group.Wait()
}

// stay is a member of one cluster after the other: the store a node follows
// may turn out to be of another cluster than the one it last knew.
func (m *Membership) stay(ctx context.Context) error {
	for {
		start, err := m.awaitStart(ctx)
		if err != nil {
			return nil // ctx ended
		}
		err = m.serve(ctx, start)
		if !errors.Is(err, errOtherCluster) {
			return err
		}
		m.config.Log.Warn("etcd is of another cluster now: starting the membership again", "cluster", start.Cluster)
	}
}

// errOtherCluster ends serve when the registry's cluster changed.
var errOtherCluster = errors.New("registry is of another cluster")

// serve is a member of one cluster until ctx ends.
func (m *Membership) serve(ctx context.Context, start origin) error {
	ring, err := newRing(start.Keys)
	if err != nil {
		return fmt.Errorf("start membership: %w", err)
	}
	m.setRing(ring.id())

	group, ctx := errgroup.WithContext(ctx)
	list, err := m.open(ctx, start.Cluster, ring)
	if err != nil {
		return err
	}
	m.setList(list)
	defer m.close(list)

	group.Go(func() error { m.keepJoined(ctx, list, start); return nil })
	group.Go(func() error { m.keepMeta(ctx, list); return nil })
	group.Go(func() error { return m.keepKeys(ctx, ring, start.Cluster) })
	return group.Wait()
}

// open starts memberlist; its streams end with ctx.
func (m *Membership) open(ctx context.Context, cluster string, r *ring) (*memberlist.Memberlist, error) {
	ml := m.config.memberlist(cluster, r.keyring)
	hooks := hooks{m}
	ml.Delegate, ml.Events, ml.Alive, ml.Conflict, ml.Ping = hooks, hooks, hooks, hooks, hooks
	ml.Logger = newLogger(m.config.Log, m.counts)
	if ml.Transport == nil {
		own, err := newTransport(ctx, m.config, ml.Logger)
		if err != nil {
			return nil, err
		}
		ml.Transport = own
	}
	list, err := memberlist.Create(ml)
	if err != nil {
		return nil, fmt.Errorf("start membership on %s port %d: %w", m.config.Address, m.config.Port, errors.Join(err, ml.Transport.Shutdown()))
	}
	return list, nil
}

// close stops memberlist. After Leave it first goes on answering probes, and
// lets memberlist say its own goodbye only when everybody has heard of the
// leave: to the others' hooks that goodbye looks like a failure.
func (m *Membership) close(list *memberlist.Memberlist) {
	m.mu.Lock()
	m.list = nil
	left := m.left
	m.mu.Unlock()
	m.leaves.Wait()
	if left && m.accompanied() {
		// Gossip misses one node in a thousand; said twice, one in a million.
		err := list.UpdateNode(updateTimeout)
		time.Sleep(lingerAfterLeave) //nolint:forbidigo // the goodbye itself: ctx is over by now
		if err = errors.Join(err, list.Leave(leaveTimeout)); err != nil {
			m.config.Log.Debug("leave not told to every member: they notice by their probes", "err", err)
		}
	}
	if err := list.Shutdown(); err != nil {
		m.config.Log.Warn("membership did not stop cleanly", "err", err)
	}
}

// accompanied reports whether another member answers.
func (m *Membership) accompanied() bool {
	return slices.ContainsFunc(m.table.list(), func(o Member) bool { return o.Standing == Alive && o.Node != m.config.Node })
}

// Leave tells everybody that this node goes away on purpose. Call it before
// the context of Run ends; a restart for an upgrade does not call it. It
// returns when the word is out, at the latest when ctx ends or after some
// seconds; an error says that perhaps nobody heard.
func (m *Membership) Leave(ctx context.Context) error {
	m.mu.Lock()
	list := m.list
	m.left = true
	m.metaNow.Flags |= Leaving
	m.metaNow.Gen++
	if list != nil {
		m.leaves.Add(1)
	}
	m.mu.Unlock()
	if list == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		defer m.leaves.Done()
		done <- list.UpdateNode(leaveTimeout)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("leave the membership: %w", err)
	}
	return nil
}

// Members returns every member the gossip knows, this node included, in the
// order of names; those that left or failed stay for an hour. It is never
// nil.
func (m *Membership) Members() []Member { return m.table.list() }

// Member returns one member, cheaply enough for every DNS answer; false when
// the gossip does not know it.
func (m *Membership) Member(node string) (Member, bool) { return m.table.get(node) }

// Answering returns how many members answer, this node included.
func (m *Membership) Answering() int { return m.table.count() }

// Events returns the channel on which members that came, went or changed are
// handed out while Run runs. Slow readers get one event for each member, its
// last; Resync tells them when even that was too much.
func (m *Membership) Events() <-chan Batch[Event] { return m.events.out }

// Counters returns what was counted since New.
func (m *Membership) Counters() Counters {
	c := m.counts.get()
	c.Flaps = m.table.flapped()
	return c
}

// report passes an event on to the reader of Events and to the log.
func (m *Membership) report(e Event) {
	m.events.put(e.Member.Node, e)
	m.lines.put(e.Member.Node, e)
}

// logLines writes the log of members; not from memberlist's hooks, where a
// slow log would hold up the gossip.
func (m *Membership) logLines(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case batch := <-m.lines.out:
			for _, e := range batch.Items {
				m.logLine(e)
			}
		}
	}
}

func (m *Membership) logLine(e Event) {
	if e.Before == e.Member.Standing {
		return
	}
	what := map[Standing]string{Alive: "member joined", Left: "member left", Failed: "member failed"}[e.Member.Standing]
	m.config.Log.LogAttrs(context.Background(), slog.LevelInfo, what,
		slog.String("node", e.Member.Node), slog.String("address", e.Member.Address.String()),
		slog.Int("members", m.table.count()), slog.String("host", m.config.Registry.Known().Nodes[e.Member.Node].Description.Host))
}

func (m *Membership) setList(list *memberlist.Memberlist) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = list
}

// SetMeta changes what this node tells of itself. Gen is the membership's
// own and Leaving is set by Leave alone.
func (m *Membership) SetMeta(meta Meta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	meta.Flags = meta.Flags&^Leaving | m.metaNow.Flags&Leaving
	meta.Gen = m.metaNow.Gen
	if meta == m.metaNow {
		return
	}
	meta.Gen++
	m.metaNow = meta
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *Membership) meta() Meta {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.metaNow
}

// keepMeta advertises new metadata until ctx ends.
func (m *Membership) keepMeta(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.news:
			if err := list.UpdateNode(updateTimeout); err != nil {
				m.config.Log.Debug("metadata not told to a peer at once: the gossip carries it", "err", err)
			}
		}
	}
}

// ack is what this node says in answers to probes.
func (m *Membership) ack() Ack {
	m.mu.Lock()
	ring, list := m.ring, m.list
	m.mu.Unlock()
	a := Ack{Ring: ring, Applied: m.config.Registry.Known().Revision, Clock: m.table.now()}
	if list != nil {
		a.Health = uint8(min(list.GetHealthScore(), 255))
	}
	return a
}
