package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/dns/zone"
)

// Enter runs f inside a sandbox's network namespace, on a thread that is not
// used for anything else meanwhile. Its error is f's, or that the namespace
// is not there (yet).
type Enter func(sandbox string, f func() error) error

// Resolvers answer names inside containers: one resolver for each sandbox
// that has an endpoint on a network of ours, for the union of those
// networks. They need nothing of the container and change nothing in it but
// one nftables table, which the kernel itself disarms within 3 s when this
// process is gone.
type Resolvers struct {
	zone  *zone.Zone
	enter Enter
	log   *slog.Logger

	off  atomic.Bool   // ErrUnsupported was seen
	wake chan struct{} // a sandbox could not be opened at once

	mu    sync.Mutex
	ctx   context.Context // of Run; nil outside it
	group *sync.WaitGroup // resolvers that serve
	boxes map[string]*box // by sandbox
}

// box is one sandbox that should have a resolver.
type box struct {
	sandbox string
	scope   atomic.Pointer[zone.Scope]

	mu       sync.Mutex
	networks map[string]string // by endpoint
	resolver *resolver         // nil while it is closed
	since    time.Time         // attached, or closed by a failure
	retry    time.Time         // when it may be opened
	delay    time.Duration     // after the next failure
	logged   bool              // that it cannot be opened
	seen     bool              // a process was seen in it
	idle     int               // checks in a row that found no process
	asleep   bool              // closed for want of a process
	gone     bool              // the last endpoint left
}

// New returns Resolvers that do nothing until Run.
func New(names *zone.Zone, enter Enter, log *slog.Logger) *Resolvers {
	return &Resolvers{zone: names, enter: enter, log: log, wake: make(chan struct{}, 1), boxes: make(map[string]*box)}
}

// Attach makes names of a network known in a sandbox (the engine's
// SandboxKey) for as long as the endpoint is there. Attaching what is
// attached changes nothing. While Run runs, the resolver answers when Attach
// returns, or, where the sandbox has no namespace yet (engines before 28),
// as soon as it has. The only error is ErrUnsupported, which is logged once
// and must not keep the container from starting.
func (s *Resolvers) Attach(sandbox, endpoint, network string) error {
	if s.off.Load() {
		return ErrUnsupported
	}
	s.mu.Lock()
	b := s.boxes[sandbox]
	if b == nil {
		b = &box{sandbox: sandbox, networks: make(map[string]string), since: time.Now(), delay: retryFirst}
		s.boxes[sandbox] = b
	}
	b.mu.Lock() // before s.mu is let go, so that no detach ends the box in between
	defer b.mu.Unlock()
	ctx, group := s.ctx, s.group
	s.mu.Unlock()
	b.networks[endpoint] = network
	b.rescope()
	b.asleep = false
	if ctx == nil || b.resolver != nil {
		return nil
	}
	err := s.open(ctx, group, b)
	if err != nil && !errors.Is(err, ErrUnsupported) {
		s.rouse()
		return nil
	}
	return err
}

// Detach ends what Attach began for an endpoint. With a sandbox's last
// endpoint its resolver and rules go.
func (s *Resolvers) Detach(endpoint string) {
	for _, b := range s.all() {
		s.detach(b, endpoint)
	}
}

func (s *Resolvers) detach(b *box, endpoint string) {
	s.mu.Lock()
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ours := b.networks[endpoint]
	delete(b.networks, endpoint)
	b.gone = len(b.networks) == 0
	if b.gone && s.boxes[b.sandbox] == b {
		delete(s.boxes, b.sandbox)
	}
	s.mu.Unlock()
	if !ours {
		return
	}
	b.rescope()
	if b.gone {
		s.shut(b)
	}
}

// rescope makes the union of the networks what the resolver answers for.
func (b *box) rescope() {
	scope := zone.Networks(slices.Collect(maps.Values(b.networks))...)
	b.scope.Store(&scope)
}

// open puts a resolver into a sandbox. The caller holds b.mu.
func (s *Resolvers) open(ctx context.Context, group *sync.WaitGroup, b *box) error {
	if b.gone || s.off.Load() {
		return nil
	}
	r, err := openResolver(s.zone, &b.scope, func(f func() error) error { return s.enter(b.sandbox, f) })
	if err != nil {
		b.retry, b.delay = time.Now().Add(b.delay), min(b.delay*2, retryLast)
		s.report(b, err)
		return err
	}
	ctx, r.cancel = context.WithCancel(ctx)
	b.resolver, b.delay, b.idle, b.logged = r, retryFirst, 0, false
	group.Go(func() {
		if err := r.serve(ctx); err != nil {
			s.log.Error("resolver in a sandbox failed: Docker's resolver answers there until it is opened again", "sandbox", b.sandbox, "err", err)
			s.failed(b, r)
		}
	})
	return nil
}

// report turns the feature off, and logs so once, when the kernel lacks what it
// needs. Of any other failure it logs once that the sandbox stays closed, after
// patience.
func (s *Resolvers) report(b *box, err error) {
	switch {
	case errors.Is(err, ErrUnsupported):
		if !s.off.Swap(true) {
			s.log.Warn("names are not answered inside containers on this host; Docker's own resolver is left as it is", "err", err)
		}
	case !b.logged && time.Since(b.since) > patience:
		b.logged = true
		s.log.Warn("resolver cannot be opened in a sandbox: Docker's resolver answers there, next try within a second", "sandbox", b.sandbox, "err", err)
	}
}

// shut closes a sandbox's resolver. The caller holds b.mu.
func (s *Resolvers) shut(b *box) {
	if b.resolver == nil {
		return
	}
	if err := b.resolver.close(); err != nil {
		s.log.Warn("nftables rules for names cannot be removed from a sandbox: the kernel disarms them within 3 s", "sandbox", b.sandbox, "err", err)
	}
	b.resolver = nil
}

// failed opens a new resolver in place of one that stopped serving.
func (s *Resolvers) failed(b *box, r *resolver) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.resolver == r {
		s.reopen(b)
	}
}

// reopen closes a resolver and lets Run open another. The caller holds b.mu.
func (s *Resolvers) reopen(b *box) {
	s.shut(b)
	b.since = time.Now()
	b.retry = b.since.Add(retryLast)
	s.rouse()
}

// rouse lets Run look for sandboxes to open.
func (s *Resolvers) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
