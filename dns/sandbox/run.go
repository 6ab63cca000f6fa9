package sandbox

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// How often Run does what.
const (
	retryFirst   = 10 * time.Millisecond // a namespace that Docker is about to make
	retryLast    = time.Second           // between two tries at most
	patience     = 10 * time.Second      // before a sandbox that cannot be opened is logged
	processRound = 10                    // beats between two checks for processes
	idleLimit    = 3                     // checks without a process before a sandbox is closed
	idleUnseen   = 12                    // the same for one that never had a process: it may be starting
)

// Run opens the resolvers of everything attached, keeps their rules alive,
// opens those that could not be opened before, and closes those whose
// namespace has no process any more (an open socket would keep it, and the
// links in it, for ever). When ctx ends it leads every sandbox back to
// Docker's resolver, and returns nil when all is closed.
func (s *Resolvers) Run(ctx context.Context) error {
	var group sync.WaitGroup
	s.mu.Lock()
	s.ctx, s.group = ctx, &group
	s.mu.Unlock()
	defer s.stop(&group)

	beats := time.NewTicker(beatEvery)
	defer beats.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	round := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beats.C:
			round++
			if round%processRound == 0 {
				s.checkProcesses()
			}
			s.beat()
		case <-s.wake:
			retry.Reset(retryFirst)
		case <-retry.C:
			if wait := s.retry(ctx, &group); wait > 0 {
				retry.Reset(wait)
			}
		}
	}
}

// stop closes every resolver and waits for the questions in flight. The
// sandboxes stay attached, for the next Run.
func (s *Resolvers) stop(group *sync.WaitGroup) {
	s.mu.Lock()
	s.ctx, s.group = nil, nil
	s.mu.Unlock()
	// The kernel waits for a grace period at each table that goes; side by
	// side they wait together.
	boxes, closing := make(chan *box), new(sync.WaitGroup)
	for range 64 {
		closing.Go(func() {
			for b := range boxes {
				b.mu.Lock()
				s.shut(b)
				b.mu.Unlock()
			}
		})
	}
	for _, b := range s.all() {
		boxes <- b
	}
	close(boxes)
	closing.Wait()
	group.Wait()
}

// all returns every sandbox, in no order.
func (s *Resolvers) all() []*box {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.boxes))
}

// beat keeps the rules of every open sandbox alive.
func (s *Resolvers) beat() {
	for _, b := range s.all() {
		b.mu.Lock()
		if b.resolver != nil {
			if err := b.resolver.beat(); err != nil {
				s.log.Warn("nftables rules for names in a sandbox are gone and cannot be made: Docker's resolver answers there until its resolver is opened again",
					"sandbox", b.sandbox, "err", err)
				s.reopen(b)
			}
		}
		b.mu.Unlock()
	}
}

// retry opens what is due and returns how long until the next is; 0 is
// never.
func (s *Resolvers) retry(ctx context.Context, group *sync.WaitGroup) time.Duration {
	var next time.Duration
	for _, b := range s.all() {
		b.mu.Lock()
		if b.resolver == nil && !b.asleep && !b.gone && !s.off.Load() {
			if time.Until(b.retry) <= 0 {
				s.open(ctx, group, b)
			}
			if wait := max(time.Until(b.retry), time.Millisecond); b.resolver == nil && (next == 0 || wait < next) {
				next = wait
			}
		}
		b.mu.Unlock()
	}
	return next
}

// checkProcesses closes sandboxes whose last process ended, and opens those that have
// one again.
func (s *Resolvers) checkProcesses() {
	live := namespaces()
	if live == nil {
		return
	}
	for _, b := range s.all() {
		b.mu.Lock()
		switch {
		case b.resolver != nil:
			s.checkProcess(b, live)
		case b.asleep:
			if id, err := inode(b.sandbox); err == nil && live[id] {
				b.asleep, b.retry = false, time.Time{}
				s.rouse()
			}
		}
		b.mu.Unlock()
	}
}

// checkProcess notes whether an open sandbox has a process, and closes it when it
// had none for long. The caller holds b.mu.
func (s *Resolvers) checkProcess(b *box, live map[uint64]bool) {
	if live[b.resolver.namespace[0]] || live[b.resolver.namespace[1]] {
		b.seen, b.idle = true, 0
		return
	}
	b.idle++
	if b.seen && b.idle >= idleLimit || b.idle >= idleUnseen && seesAll() {
		s.shut(b)
		b.asleep, b.idle = true, 0
	}
}

// hostPIDs is the inode of the host's own PID namespace: the kernel's
// PROC_PID_INIT_INO, fixed since Linux 3.8.
const hostPIDs = 0xEFFFFFFC

// namespaces returns the inodes that show in which network namespaces there
// are processes: of ns/net, or, for a process we may not look into, of
// net/dev, which procfs gives one inode for each network namespace. It
// returns nil when /proc cannot be read. In a PID namespace of our own we may
// see none of the containers' processes.
func namespaces() map[uint64]bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	live := make(map[uint64]bool)
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		id, err := inode(filepath.Join(dir, "ns/net"))
		if err != nil {
			id, err = inode(filepath.Join(dir, "net/dev"))
		}
		if err == nil {
			live[id] = true
		}
	}
	return live
}

// seesAll reports whether we see every process of the host.
func seesAll() bool {
	own, err := inode("/proc/self/ns/pid")
	return err == nil && own == hostPIDs
}
