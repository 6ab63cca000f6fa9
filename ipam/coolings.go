package ipam

import (
	"context"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// bucket is for how long one etcd lease is hung from: all addresses that are
// let go in that time rest by it, and so a little longer than they should.
const bucket = 15 * time.Second

// coolings are the etcd leases that resting addresses hang from, one for each
// length of a cooldown.
type coolings struct {
	*node.Node
	mu      sync.Mutex // held while a lease is granted: who needs it too waits
	buckets map[time.Duration]cooling
}

// grantPatience is what of a release's time may go into an etcd lease.
const grantPatience = time.Second

type cooling struct {
	lease store.LeaseID // 0: none was to be had
	until time.Time     // it is hung from, by this host's clock
}

// step has an address that a container leaves rest by the cooldown of its
// network. None where there is no cooldown, or no etcd lease to be had: it puts
// an order on candidates, and a release waits for more than that.
func (cs *coolings) step(ctx context.Context, l journal.Lease) (store.Op, bool) {
	cooldown := cs.of(l)
	if cs.Grant == nil || cooldown == 0 {
		return store.Op{}, false
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	now := cs.Now()
	b, ok := cs.buckets[cooldown]
	if !ok || !now.Before(b.until) {
		b = cooling{cs.grant(ctx, cooldown), now.Add(bucket)}
		cs.buckets[cooldown] = b
	}
	if b.lease == 0 {
		return store.Op{}, false
	}
	op := store.Put(store.CooldownKey(l.Segment, l.Address), store.Encode(store.Cooldown{Since: now.Unix()}))
	op.Lease = b.lease
	return op, true
}

// grant makes the etcd lease of a bucket; 0 where none is to be had.
func (cs *coolings) grant(ctx context.Context, cooldown time.Duration) store.LeaseID {
	ctx, cancel := context.WithTimeout(ctx, grantPatience)
	defer cancel()
	ttl := (cooldown + bucket + time.Second - 1) / time.Second
	lease, err := cs.Grant(ctx, int64(ttl))
	if err != nil {
		cs.Log.Warn("addresses do not rest after their containers: no etcd lease is to be had; asked for again later", "in", bucket, "err", err)
		return 0
	}
	return lease
}

// forget takes up no etcd lease again: one of them is gone. The host slept, or
// the store was restored.
func (cs *coolings) forget() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	clear(cs.buckets)
}

// of is the cooldown of a lease's network.
func (cs *coolings) of(l journal.Lease) time.Duration {
	p, _ := cs.Memory.Pool(l.Pool)
	n, _ := cs.Memory.Addressing(l.Network)
	o, err := optionsOf(p, n)
	if err != nil {
		o = pool.Options{}
	}
	return o.CooldownUnder(n.Overrides)
}
