package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"
)

// besideLeases are there before the others are measured.
const besideLeases = 1000

// manner is a way to keep addresses in etcd.
type manner struct {
	name string
	ask  func(ctx context.Context) error
}

// beside is how others keep addresses in etcd, with 1,000 leases each, beside
// ours with as many, in turns. None of their code is here:
//
//	go-ipam's shape  one key of JSON with every address: read, compared in
//	                 memory, put. Go's module proxy does not have go-ipam itself. Two at
//	                 once lose an address, so it is measured alone.
//	a map in one key the same, with a compare-and-swap, as whereabouts and
//	                 spiderpool do with an object of Kubernetes
//	mutex            etcd's own lock around a look at the counter and two puts
func beside(ctx context.Context, b *bench, e *etcd) error {
	n, err := e.lone(ctx)
	if err != nil {
		return err
	}
	if err := ofMany(ctx, besideLeases, func(ctx context.Context, _ int) error { _, err := n.ask(ctx); return err }); err != nil {
		return err
	}
	session, err := concurrency.NewSession(e.raw)
	if err != nil {
		return err
	}
	defer session.Close()
	one := &oneKey{raw: e.raw}
	for _, key := range []string{readPutKey, swapKey} {
		if err := one.begin(ctx, key); err != nil {
			return err
		}
	}
	locked := &locked{etcd: e, turn: make(chan struct{}, 1), mutex: concurrency.NewMutex(session, "/beside/lock")}
	ways := []manner{
		{"gvlan", func(ctx context.Context) error { _, err := n.ask(ctx); return err }},
		{"go_ipam_shape", func(ctx context.Context) error { _, err := one.take(ctx, readPutKey, false); return err }},
		{"map_swap", func(ctx context.Context) error { _, err := one.take(ctx, swapKey, true); return err }},
		{"mutex_put", locked.take},
		{"T", e.create},
	}
	if err := alone(ctx, b, ways); err != nil {
		return err
	}
	return together64(ctx, b, one, ways)
}

// alone times each way, one request at a time, in turns.
func alone(ctx context.Context, b *bench, ways []manner) error {
	const each = 30
	took := make([][]time.Duration, len(ways))
	for range b.rounds * each {
		for i, way := range ways {
			t, err := timed(func() error { return way.ask(ctx) })
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			took[i] = append(took[i], t)
		}
	}
	for i, way := range ways {
		b.report.say("beside_"+way.name+"_p50_ms_c1", ms(percentile(took[i], 50)))
	}
	return nil
}

// together64 is how many a second each way gives to 64 at once, within a time; a way
// that loses addresses then says how many.
func together64(ctx context.Context, b *bench, one *oneKey, ways []manner) error {
	const limit = 1500 * time.Millisecond
	for _, way := range ways {
		if way.name == "go_ipam_shape" {
			lost, given, err := one.lostUpdates(ctx)
			if err != nil {
				return err
			}
			b.report.say("beside_go_ipam_shape_addresses_given_twice_c64", float64(lost))
			b.report.say("beside_go_ipam_shape_given_c64", float64(given))
			continue
		}
		given, err := during(ctx, limit, way.ask)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		b.report.say("beside_"+way.name+"_per_s_c64", float64(given)/limit.Seconds())
	}
	return nil
}

// during counts what 64 at once get done within a time.
func during(ctx context.Context, limit time.Duration, do func(ctx context.Context) error) (int64, error) {
	var given atomic.Int64
	group, inGroup := errgroup.WithContext(ctx)
	end := time.Now().Add(limit)
	for range clients {
		group.Go(func() error {
			for time.Now().Before(end) {
				if err := do(inGroup); err != nil {
					return err
				}
				if time.Now().Before(end) {
					given.Add(1)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return given.Load(), err
}

const (
	readPutKey = "/beside/read-put"
	swapKey    = "/beside/swap"
)

// oneKey is every address of a subnet in one key of JSON.
type oneKey struct{ raw *clientv3.Client }

// subnet16 is what such a key holds.
type subnet16 struct {
	CIDR    string          `json:"cidr"`
	Version int64           `json:"version"`
	IPs     map[string]bool `json:"ips"`
}

func (o *oneKey) begin(ctx context.Context, key string) error {
	s := subnet16{CIDR: "10.1.0.0/16", IPs: map[string]bool{}}
	for addr := netip.MustParseAddr("10.1.0.1"); len(s.IPs) < besideLeases; addr = addr.Next() {
		s.IPs[addr.String()] = true
	}
	raw, err := json.Marshal(s)
	if err == nil {
		_, err = o.raw.Put(ctx, key, string(raw))
	}
	return err
}

// take gives the lowest free address. Swap compares that the key is as it was
// read, and begins anew when it is not.
func (o *oneKey) take(ctx context.Context, key string, swap bool) (string, error) {
	for {
		reply, err := o.raw.Get(ctx, key)
		if err != nil {
			return "", err
		}
		var s subnet16
		if err := json.Unmarshal(reply.Kvs[0].Value, &s); err != nil {
			return "", err
		}
		addr := netip.MustParsePrefix(s.CIDR).Addr().Next()
		for s.IPs[addr.String()] {
			addr = addr.Next()
		}
		s.IPs[addr.String()] = true
		s.Version++
		raw, err := json.Marshal(s)
		if err != nil {
			return "", err
		}
		if !swap {
			_, err = o.raw.Put(ctx, key, string(raw))
			return addr.String(), err
		}
		done, err := o.raw.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", reply.Kvs[0].ModRevision)).Then(clientv3.OpPut(key, string(raw))).Commit()
		if err != nil || done.Succeeded {
			return addr.String(), err
		}
	}
}

// lostUpdates is what happens to 64 at once that read, look in memory and put.
func (o *oneKey) lostUpdates(ctx context.Context) (twice, given int, err error) {
	const asked = 256
	addrs := make([]string, asked)
	err = ofMany(ctx, asked, func(ctx context.Context, i int) (err error) {
		addrs[i], err = o.take(ctx, readPutKey, false)
		return err
	})
	seen := map[string]bool{}
	for _, addr := range addrs {
		if seen[addr] {
			twice++
		}
		seen[addr] = true
	}
	return twice, asked, err
}

// locked is etcd's lock around a look and two puts.
type locked struct {
	*etcd
	turn  chan struct{}
	mutex *concurrency.Mutex
}

func (l *locked) take(ctx context.Context) error {
	// A mutex is one holder's: those of one session take turns.
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if err := l.mutex.Lock(ctx); err != nil {
		return err
	}
	defer func() { _ = l.mutex.Unlock(ctx) }()
	const next = "/beside/next"
	reply, err := l.raw.Get(ctx, next)
	if err != nil {
		return err
	}
	addr := netip.MustParseAddr("10.1.0.0")
	if len(reply.Kvs) > 0 {
		if addr, err = netip.ParseAddr(string(reply.Kvs[0].Value)); err != nil {
			return err
		}
	}
	addr = addr.Next()
	if _, err := l.raw.Put(ctx, "/beside/locked/"+addr.String(), l.value); err != nil {
		return err
	}
	_, err = l.raw.Put(ctx, next, addr.String())
	return err
}
