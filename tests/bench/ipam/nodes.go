package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
)

const (
	sharers  = 16
	usable24 = 254 // addresses of a /24 that containers can have
)

// nodes is 16 nodes that share one /24, another one each round.
func nodes(ctx context.Context, b *bench, e *etcd) error {
	s := &sharing{bench: b, etcd: e}
	for i := range sharers {
		c, err := e.connect()
		if err != nil {
			return err
		}
		e.users = append(e.users, c.Close)
		s.clients = append(s.clients, c)
		h, err := e.host(ctx, fmt.Sprintf("h%d", i+1))
		if err != nil {
			return err
		}
		s.hosts = append(s.hosts, h)
	}
	for round := range b.rounds {
		if err := s.round(ctx, netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", round+1))); err != nil {
			return err
		}
	}
	s.say()
	return nil
}

// sharing is 16 hosts and what was seen of them.
type sharing struct {
	*bench
	*etcd
	hosts   []*host
	clients []*clientv3.Client    // of clientv3, as many as hosts
	held    []map[netip.Addr]bool // by host

	fillTxns, conflicts, churnP50, churnP99, putP50, putP99, watchedP99, winners []float64
	duplicates, falseWords                                                       atomic.Int64
}

func (s *sharing) round(ctx context.Context, subnet netip.Prefix) error {
	var networks []*network
	s.held = nil
	for _, h := range s.hosts {
		n, err := h.network(ctx, subnet.String(), nil)
		if err != nil {
			return err
		}
		if err := n.mirrored(ctx); err != nil {
			return err
		}
		networks = append(networks, n)
		s.held = append(s.held, map[netip.Addr]bool{})
	}
	if err := s.fill(ctx, subnet, networks); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	if err := s.last(ctx, networks); err != nil {
		return fmt.Errorf("the last address: %w", err)
	}
	if err := s.churn(ctx, networks); err != nil {
		return fmt.Errorf("churn: %w", err)
	}
	return nil
}

func (s *sharing) commits() (commits, lost int64) {
	for _, h := range s.hosts {
		commits += h.store.commits.Load()
		lost += h.store.lost.Load()
	}
	return commits, lost
}

// fill has all hosts ask until each is told that the subnet is full. Of the
// transactions those count that were sent before it was.
func (s *sharing) fill(ctx context.Context, subnet netip.Prefix, networks []*network) error {
	var mu sync.Mutex
	all := map[netip.Addr]bool{}
	began, _ := s.commits()
	full := int64(0)
	group, inGroup := errgroup.WithContext(ctx)
	for i, n := range networks {
		group.Go(func() error {
			for {
				addr, err := n.ask(inGroup)
				if errors.Is(err, store.ErrUnavailable) || inGroup.Err() != nil {
					return err
				}
				if err != nil {
					return s.checkFull(inGroup, subnet)
				}
				mu.Lock()
				if all[addr] {
					s.duplicates.Add(1)
				}
				all[addr] = true
				s.held[i][addr] = true
				if len(all) == usable24 {
					full, _ = s.commits()
				}
				mu.Unlock()
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if len(all) != usable24 {
		s.falseWords.Add(1)
		return nil
	}
	s.fillTxns = append(s.fillTxns, float64(full-began)/usable24)
	return nil
}

// checkFull counts a refusal while addresses are free.
func (s *sharing) checkFull(ctx context.Context, subnet netip.Prefix) error {
	span := store.LeasesSpan("default", subnet)
	reply, err := s.raw.Get(ctx, prefix+span.From, clientv3.WithRange(prefix+span.To), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	if reply.Count < usable24 {
		s.falseWords.Add(1)
	}
	return nil
}

// last frees one address and has all ask for it.
func (s *sharing) last(ctx context.Context, networks []*network) error {
	if err := s.giveBack(ctx, networks, 0); err != nil {
		return err
	}
	var winners atomic.Int64
	var group errgroup.Group
	for i, n := range networks {
		group.Go(func() error {
			addr, err := n.ask(ctx)
			if err == nil {
				winners.Add(1)
				s.held[i][addr] = true
			}
			if errors.Is(err, store.ErrUnavailable) {
				return err
			}
			return nil
		})
	}
	err := group.Wait()
	s.winners = append(s.winners, float64(winners.Load()))
	return err
}

// giveBack releases any address of a host's.
func (s *sharing) giveBack(ctx context.Context, networks []*network, i int) error {
	for addr := range s.held[i] {
		delete(s.held[i], addr)
		return networks[i].release(ctx, addr)
	}
	return nil
}

// churn has every host give one back and take one, over and over, while 95 %
// are taken, in turns with puts of as many clients.
func (s *sharing) churn(ctx context.Context, networks []*network) error {
	const turns, each, puts = 4, 10, 40 // of a host
	for i := 0; i < usable24*5/100; i++ {
		if err := s.giveBack(ctx, networks, i%sharers); err != nil {
			return err
		}
	}
	var asked, bare, watched []time.Duration
	lost := int64(0)
	for range turns {
		_, before := s.commits()
		took, err := s.swap(ctx, networks, each)
		if err != nil {
			return err
		}
		asked = append(asked, took...)
		_, after := s.commits()
		lost += after - before
		if took, err = s.puts(ctx, puts, "/bench/fresh"); err != nil {
			return err
		}
		bare = append(bare, took...)
		if took, err = s.watchedPuts(ctx, puts); err != nil {
			return err
		}
		watched = append(watched, took...)
	}
	s.conflicts = append(s.conflicts, float64(lost)/float64(len(asked)))
	s.churnP50 = append(s.churnP50, ms(percentile(asked, 50)))
	s.churnP99 = append(s.churnP99, ms(percentile(asked, 99)))
	s.putP50 = append(s.putP50, ms(percentile(bare, 50)))
	s.putP99 = append(s.putP99, ms(percentile(bare, 99)))
	s.watchedP99 = append(s.watchedP99, ms(percentile(watched, 99)))
	return nil
}

// swap has every host give one back and take one so many times, and times the
// taking.
func (s *sharing) swap(ctx context.Context, networks []*network, each int) ([]time.Duration, error) {
	return together(ctx, each, func(ctx context.Context, i int) (time.Duration, error) {
		if err := s.giveBack(ctx, networks, i); err != nil {
			return 0, err
		}
		var addr netip.Addr
		took, err := timed(func() (err error) {
			addr, err = networks[i].ask(ctx)
			return err
		})
		s.held[i][addr] = true
		return took, err
	})
}

// puts are P of 16 clients at once, each with a connection of its own.
func (s *sharing) puts(ctx context.Context, each int, folder string) ([]time.Duration, error) {
	return together(ctx, each, func(ctx context.Context, i int) (time.Duration, error) {
		return timed(func() error {
			_, err := s.clients[i].Put(ctx, folder+s.fresh(), s.value)
			return err
		})
	})
}

// watchedPuts are the same of keys that every client watches, as every node does
// a subnet's: what telling 16 of each write costs alone.
func (s *sharing) watchedPuts(ctx context.Context, each int) ([]time.Duration, error) {
	const folder = "/bench/watched"
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watches errgroup.Group
	for _, c := range s.clients {
		events := c.Watch(ctx, folder, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-events // it stands
		watches.Go(func() error {
			for range events {
			}
			return nil
		})
	}
	took, err := s.puts(ctx, each, folder)
	cancel()
	return took, errors.Join(err, watches.Wait())
}

// together does the same so many times with every host at once.
func together(ctx context.Context, each int, do func(ctx context.Context, i int) (time.Duration, error)) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	group, inGroup := errgroup.WithContext(ctx)
	for i := range sharers {
		group.Go(func() error {
			for range each {
				took, err := do(inGroup, i)
				if err != nil {
					return err
				}
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
			return nil
		})
	}
	return all, group.Wait()
}

func (s *sharing) say() {
	r := &s.bench.report
	r.most("fill24_16nodes_duplicates", float64(s.duplicates.Load()), 0)
	r.most("fill24_16nodes_false_words", float64(s.falseWords.Load()), 0)
	r.most("fill24_16nodes_txns_per_alloc", median(s.fillTxns), 1.15)
	r.most("churn95_16nodes_conflicts", median(s.conflicts), 0.10)
	r.say("churn95_16nodes_p50_ms", median(s.churnP50))
	r.say("churn95_16nodes_p99_ms", median(s.churnP99))
	r.say("P16_p50_ms", median(s.putP50))
	r.say("P16_p99_ms", median(s.putP99))
	r.say("P16_watched_p99_ms", median(s.watchedP99))
	r.say("churn95_16nodes_p99_over_P16_watched_p99", median(s.churnP99)/median(s.watchedP99))
	r.say("churn95_16nodes_p50_over_P16_p50", median(s.churnP50)/median(s.putP50))
	r.most("churn95_16nodes_p99_over_P16_p99", median(s.churnP99)/median(s.putP99), 2.5)
	worst := 0.0
	for _, w := range s.winners {
		worst = max(worst, max(w-1, 1-w))
	}
	r.most("last_address_16nodes_not_one", worst, 0)
}
