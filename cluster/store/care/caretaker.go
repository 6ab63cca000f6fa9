package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
)

// Times of a Caretaker.
const (
	// every is how often it looks. A quota that is used up keeps everybody
	// waiting; a database that is half empty can wait.
	every = 30 * time.Second
	// lookLimit is how long a look may take.
	lookLimit = 10 * time.Second
	// rest is how long a member that was defragmented is left alone.
	rest = time.Hour
	// again is when a quota is looked after again that stayed used up.
	again = 10 * time.Minute
	// defragmentLimit is how long one member may take: a database of the largest
	// quota, 8 GiB, at 30 MB/s.
	defragmentLimit = 5 * time.Minute
)

// Cluster is what etcd is asked for. *etcd.Membership is one.
type Cluster interface {
	Members(ctx context.Context) ([]etcd.MemberInfo, error)
	Status(ctx context.Context, endpoint string) (etcd.MemberStatus, error)
	Alarms(ctx context.Context) ([]etcd.Alarm, error)
	Compact(ctx context.Context, revision int64) error
	Defragment(ctx context.Context, endpoint string) error
	Disarm(ctx context.Context) error
}

// Config is what a Caretaker needs.
type Config struct {
	Cluster Cluster
	Own     string        // where the member of a host is asked that shares its store with nobody; "" elsewhere
	Leads   func() bool   // whether the member that leads runs here
	Every   time.Duration // 0: half a minute
	Now     func() time.Time
	Log     *slog.Logger
}

// Caretaker looks after the store.
type Caretaker struct {
	cfg    Config
	heard  map[uint64]time.Time // of each member
	rested map[uint64]time.Time // each member was defragmented
	cured  time.Time            // the last attempt at a quota that is used up
	said   string               // the failure that was logged last

	mu    sync.Mutex
	last  View
	looks Looks
}

// Looks counts looks at all members since the start.
type Looks struct {
	Done   uint64
	Failed uint64 // the store did not say which members it has
}

// New makes one; Run has it work.
func New(cfg Config) *Caretaker {
	cfg.Every = cmp.Or(cfg.Every, every)
	return &Caretaker{cfg: cfg, heard: map[uint64]time.Time{}, rested: map[uint64]time.Time{}}
}

// Last is what the last look found; nothing while the store does not answer.
func (c *Caretaker) Last() View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Looks says how often it looked: what Last tells is worth that much.
func (c *Caretaker) Looks() Looks {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.looks
}

// Run looks and acts until ctx ends.
func (c *Caretaker) Run(ctx context.Context) error {
	for store.Sleep(ctx, c.cfg.Every) {
		err := c.round(ctx)
		switch {
		case err == nil:
			c.said = ""
		case ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) && err.Error() != c.said:
			c.said = err.Error()
			c.cfg.Log.Warn("the store is not looked after: trying again", "err", err)
		}
	}
	return nil
}

// round looks once, and does one thing where this host's member leads.
func (c *Caretaker) round(ctx context.Context) error {
	v, err := c.look(ctx)
	c.mu.Lock()
	c.last = v
	if err == nil {
		c.looks.Done++
	} else {
		c.looks.Failed++
	}
	c.mu.Unlock()
	if err != nil || !c.cfg.Leads() {
		return err
	}
	if v.NoSpace {
		if !c.cured.IsZero() && c.cfg.Now().Sub(c.cured) < again {
			return nil
		}
		return c.cure(ctx, v)
	}
	c.cured = time.Time{}
	m, found := v.Next(func(m Member) bool {
		at, was := c.rested[m.ID]
		return !was || c.cfg.Now().Sub(at) >= rest
	})
	if !found {
		return nil
	}
	return c.defragment(ctx, m)
}

// look asks every member.
func (c *Caretaker) look(ctx context.Context) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	infos, err := c.cfg.Cluster.Members(ctx)
	if err != nil {
		return View{}, err
	}
	statuses := make([]etcd.MemberStatus, len(infos))
	failed := make([]error, len(infos))
	var work sync.WaitGroup
	for i, info := range infos {
		work.Go(func() { statuses[i], failed[i] = c.cfg.Cluster.Status(ctx, c.endpoint(info)) })
	}
	work.Wait()
	v, alarm, head := View{}, false, uint64(0)
	for i := range infos {
		if failed[i] == nil {
			alarm, head = alarm || len(statuses[i].Alarms) > 0, max(head, statuses[i].Index)
		}
	}
	for i, info := range infos {
		v.Members = append(v.Members, c.describe(info, statuses[i], failed[i], head))
	}
	if !alarm {
		return v, nil
	}
	alarms, err := c.cfg.Cluster.Alarms(ctx)
	for _, a := range alarms {
		v.NoSpace, v.Differ = v.NoSpace || a.NoSpace, v.Differ || !a.NoSpace
	}
	return v, err
}

func (c *Caretaker) endpoint(info etcd.MemberInfo) string { return cmp.Or(info.Client, c.cfg.Own) }

func (c *Caretaker) describe(info etcd.MemberInfo, s etcd.MemberStatus, failed error, head uint64) Member {
	m, now := Member{ID: info.ID, Node: info.Name, Endpoint: c.endpoint(info), Learner: info.Learner}, c.cfg.Now()
	if failed != nil || s.ID != info.ID {
		since, known := c.heard[info.ID]
		if !known {
			since = now
			c.heard[info.ID] = now
		}
		m.Quiet = now.Sub(since)
		return m
	}
	c.heard[info.ID] = now
	m.Answers, m.Leader = true, s.Leader == s.ID
	m.InStep = s.Leader != 0 && s.Applied+nearlyInStep >= head
	m.Size, m.InUse, m.Quota, m.Revision = s.DBSize, s.DBInUse, s.DBQuota, s.Revision
	return m
}

// defragment has one member give back what it does not use.
func (c *Caretaker) defragment(ctx context.Context, m Member) error {
	ctx, cancel := context.WithTimeout(ctx, defragmentLimit)
	defer cancel()
	c.rested[m.ID] = c.cfg.Now()
	if err := c.cfg.Cluster.Defragment(ctx, m.Endpoint); err != nil {
		return err
	}
	c.cfg.Log.Info("a member of the store gave space back to its disk", "node", m.Node, "size", m.Size, "in_use", m.InUse)
	return nil
}

// cure makes room in a quota that is used up: old revisions go, then each
// member gives back what they took, and when there is room etcd takes in again. It
// waits for nobody: nothing can be written meanwhile, not even which members
// there are. A member that is away finds the alarm ended when it comes back.
func (c *Caretaker) cure(ctx context.Context, v View) error {
	c.cured = c.cfg.Now()
	c.cfg.Log.Error("the store's quota is used up and no new address is given: making room", "members", len(v.Members))
	revision := int64(0)
	for _, m := range v.Members {
		revision = max(revision, m.Revision)
	}
	if err := c.cfg.Cluster.Compact(ctx, revision); err != nil && !errors.Is(err, store.ErrCompacted) {
		return err
	}
	var failed error
	for _, m := range v.order() {
		if m.Answers {
			failed = errors.Join(failed, c.defragment(ctx, m))
		}
	}
	now, err := c.look(ctx)
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	if !now.roomy() {
		return fmt.Errorf("%w: it is tried again in %s", errStillFull, again)
	}
	if err := c.cfg.Cluster.Disarm(ctx); err != nil {
		return err
	}
	c.cured = time.Time{}
	c.cfg.Log.Warn("the store has room again: addresses are given")
	return nil
}

// errStillFull: what is in the store is more than its quota, without anything old.
var errStillFull = errors.New("the store's quota is used up by what is in it now: remove networks and containers that nobody needs")
