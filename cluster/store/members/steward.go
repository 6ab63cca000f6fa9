package members

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
)

// What a Steward does unless it is told otherwise.
const (
	// DefaultPatience is how long a member may be silent before another host
	// takes its place.
	DefaultPatience = 10 * time.Minute
	// DefaultBare is how long a member may be silent while its host is
	// connected before it is taken for one that lost its data.
	DefaultBare = 30 * time.Second
	// DefaultEvery is how often the steward looks.
	DefaultEvery = 2 * time.Second
	// DefaultSettle is how long a host leads before it changes anything: longer
	// than what the leader before it began can take.
	DefaultSettle = 10 * time.Second
)

// Deadlines of one look and of one step. Together they are below DefaultSettle.
const (
	lookTimeout = 4 * time.Second
	stepTimeout = 4 * time.Second
)

// Config is what a Steward needs.
type Config struct {
	Node       string // of this host
	KV         store.KV
	Roster     Roster
	Membership Membership
	Events     events.Teller    // is told of what changes
	Patience   time.Duration    // 0: DefaultPatience
	Bare       time.Duration    // 0: DefaultBare
	Every      time.Duration    // 0: DefaultEvery
	Settle     time.Duration    // 0: DefaultSettle
	Now        func() time.Time // nil: time.Now
	Log        *slog.Logger
}

// Steward keeps the membership of the cluster's own store as View.Next has it,
// and the records of it. It runs beside every member and acts where that leads.
type Steward struct {
	cfg    Config
	known  known
	clocks clocks
	told   string // the error that was logged last; "": none since all went well
}

// NewSteward makes one; Run has it work.
func NewSteward(cfg Config) *Steward {
	cfg.Patience = cmp.Or(cfg.Patience, DefaultPatience)
	cfg.Bare = cmp.Or(cfg.Bare, DefaultBare)
	cfg.Every = cmp.Or(cfg.Every, DefaultEvery)
	cfg.Settle = cmp.Or(cfg.Settle, DefaultSettle)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Steward{
		cfg:    cfg,
		known:  newKnown(func(err error) { cfg.Log.Warn("record cannot be read: going on with what it was", "err", err) }),
		clocks: clocks{patience: cfg.Patience, bare: cfg.Bare},
	}
}

// Run looks and acts until ctx ends; it returns nil then, and an error when the
// store refuses to be read.
func (s *Steward) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	var refused error
	work.Go(func() {
		defer cancel()
		refused = s.known.follow(ctx, s.cfg.KV)
	})
	for store.Sleep(ctx, s.cfg.Every) {
		s.tell(s.round(ctx))
	}
	cancel()
	work.Wait()
	return refused
}

// tell logs what went wrong, once until something else does.
func (s *Steward) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != s.told {
		s.cfg.Log.Warn("members of the store not looked after: trying again", "err", err)
	}
	s.told = text
}

// round looks once, and does one step if this host's member leads.
func (s *Steward) round(ctx context.Context) error {
	if !s.known.listed() {
		return nil
	}
	view, leads, err := s.look(ctx)
	if err != nil {
		return err // a look that fails is no time in which others were silent, nor a new beginning
	}
	if !leads {
		s.clocks.reset()
		return nil
	}
	led := s.clocks.look(s.cfg.Now(), &view)
	alone := len(view.Members) == 1 // nobody else can have led, and begun anything
	if led < s.cfg.Settle && !alone || !s.known.listed() {
		return nil
	}
	step, found := view.Next()
	if !found {
		return nil
	}
	s.cfg.Log.Info("members of the store change", "action", step.Action, "node", step.Node, "peer", step.Peer, "why", step.Why)
	return s.act(ctx, view, step)
}

// look builds the view, where this host's member leads, and has the records say
// what is.
func (s *Steward) look(ctx context.Context) (view View, leads bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	infos, err := s.cfg.Roster.Members(ctx)
	if err != nil {
		return View{}, false, fmt.Errorf("list members: %w", err)
	}
	var own MemberInfo
	for _, info := range infos {
		if info.Name == s.cfg.Node {
			own = info
		}
	}
	if own.Client == "" {
		return View{}, false, nil
	}
	status, err := s.cfg.Roster.Status(ctx, own.Client)
	if err != nil {
		return View{}, false, fmt.Errorf("ask this host's member: %w", err)
	}
	if status.ID != own.ID || status.Leader != own.ID {
		return View{}, false, nil
	}
	if err := s.known.sync(ctx, s.cfg.KV, infos); err != nil {
		return View{}, false, err
	}
	all := statuses(ctx, s.cfg.Roster, infos)
	if all[own.ID].Leader != own.ID {
		return View{}, false, nil
	}
	return s.known.view(infos, all, own.ID), true, nil
}

func (k known) view(infos []MemberInfo, all map[uint64]MemberStatus, leader uint64) View {
	hosts := k.hosts()
	return View{Hosts: hosts, Members: describe(infos, all, leader, k.nodeOf(hosts)), Want: k.want()}
}

// act does a step, and has the records say so.
func (s *Steward) act(ctx context.Context, view View, step Step) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := s.do(ctx, step); err != nil {
		if errors.Is(err, ErrNotInStep) {
			s.cfg.Log.Debug("learner not promoted: trying again", "node", step.Node, "err", err)
			return nil
		}
		return fmt.Errorf("%s %s: %w", step.Action, cmp.Or(step.Node, step.Peer), err)
	}
	for _, m := range view.Members {
		if m.ID == step.ID {
			s.clocks.did(step, m)
		}
	}
	s.tellOf(step)
	infos, err := s.cfg.Roster.Members(ctx)
	if err != nil {
		return fmt.Errorf("list members: %w", err)
	}
	return s.known.sync(ctx, s.cfg.KV, infos)
}

// tellOf tells of a step that was done. Who leads is of no consequence.
func (s *Steward) tellOf(step Step) {
	text := ""
	switch step.Action {
	case Add:
		text = "has a member of the store, which does not vote yet"
	case Promote:
		text = "its member of the store votes"
	case Remove:
		text = "has no member of the store any more"
	default:
		return
	}
	if step.Node == "" {
		text = "whoever is at " + step.Peer + " " + text
	}
	s.cfg.Events.Tell(events.Event{Kind: events.StoreChanged, Node: step.Node, Text: text + ": " + step.Why})
}

func (s *Steward) do(ctx context.Context, step Step) error {
	switch step.Action {
	case Add:
		_, err := s.cfg.Membership.AddLearner(ctx, step.Peer)
		return err
	case Promote:
		return s.cfg.Membership.Promote(ctx, step.ID)
	case Remove:
		return s.cfg.Membership.Remove(ctx, step.ID)
	case MoveLeader:
		return s.cfg.Membership.MoveLeader(ctx, step.ID)
	}
	return fmt.Errorf("unknown %s", step.Action)
}

// Survey is what one look found.
type Survey struct {
	View
	Statuses map[uint64]MemberStatus // by id; who did not answer is missing
}

// Look surveys hosts and members from any host. It has no memory: no member is
// Gone or Bare in it.
func Look(ctx context.Context, kv store.KV, roster Roster) (Survey, error) {
	var unread error
	var mu sync.Mutex
	k := newKnown(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		unread = errors.Join(unread, err)
	})
	if err := errors.Join(k.read(ctx, kv), unread); err != nil {
		return Survey{}, err
	}
	infos, err := roster.Members(ctx)
	if err != nil {
		return Survey{}, fmt.Errorf("list members: %w", err)
	}
	all := statuses(ctx, roster, infos)
	return Survey{View: k.view(infos, all, leaderOf(all)), Statuses: all}, nil
}
