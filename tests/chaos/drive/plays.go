package drive

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"gvlan/cluster/store"
	"gvlan/tests/chaos/cluster"
	"gvlan/tests/chaos/history"
)

// A play arranges in one go what chance would bring about once a week: each is
// what one compare is for.

// late is the weather of an agent that does not know what has just happened:
// what it asks arrives at once, what it is told comes later.
func late() cluster.Weather {
	return cluster.Weather{Delay: 1500 * time.Millisecond, Deliver: true}
}

// outlived has what an agent asked arrive after its successor has begun.
func outlived(ctx context.Context, d *Drive, r *rand.Rand) {
	h := d.anyHost(r)
	d.say("questions of %s are held, and its agent is killed", h.Name)
	h.Hold()
	for _, n := range d.Networks { // something to be asked
		go d.run(h, n, netip.Addr{})
	}
	wait(ctx, r, 150*time.Millisecond, 400*time.Millisecond)
	h.Kill()
	h.Start()
	wait(ctx, r, time.Second, 2*time.Second)
	h.Deliver()
	d.say("what the killed agent of %s had asked arrives", h.Name)
	wait(ctx, r, 200*time.Millisecond, 400*time.Millisecond)
}

// releasedTwice has the answer to a release lost, and somebody else take the
// address before the release is sent again.
func releasedTwice(ctx context.Context, d *Drive, r *rand.Rand) {
	one, other := d.pair(r)
	life := d.runOne(one, d.Networks[r.IntN(len(d.Networks))], netip.Addr{})
	if life == nil {
		return
	}
	d.say("the answer to a release of %s by %s is lost, and %s takes it", life.Address, one.Name, other.Name)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		one.HaltWith(context.Background(), d.Book, life, func() { one.Weather(cluster.Weather{Mute: true}) })
	}()
	n := d.network(life.Network)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && ctx.Err() == nil; {
		if taken := d.run(other, n, life.Address); taken != nil && taken.Bind.Outcome == history.OK {
			break
		}
		wait(ctx, r, 20*time.Millisecond, 60*time.Millisecond)
	}
	<-gone
	one.Weather(cluster.Weather{})
	wait(ctx, r, time.Second, 2*time.Second)
	d.say("%s is told what became of its release", one.Name)
}

// boundLate has an address vanish from the store, and be somebody else's, between
// its request and its binding.
func boundLate(ctx context.Context, d *Drive, r *rand.Rand) {
	one, other := d.pair(r)
	n := d.Networks[r.IntN(len(d.Networks))]
	d.say("an address of %s vanishes before it is bound, and %s takes it", one.Name, other.Name)
	life := one.RunWith(context.Background(), d.Book, n.Name, netip.Addr{}, func(at netip.Addr) {
		one.Weather(late())
		if err := d.Ledger.Vanish(ctx, store.LeaseKey(cluster.Segment, at)); err != nil {
			d.say("delete by hand: %v", err)
			return
		}
		d.run(other, n, at)
	})
	one.Weather(cluster.Weather{})
	if d.Book.Lives(life) { // it did not vanish
		one.Halt(context.Background(), d.Book, life)
	}
}

// startedLate has a container start on a network that is being removed, on a host
// that was not told yet.
func startedLate(ctx context.Context, d *Drive, r *rand.Rand) {
	one, other := d.pair(r)
	n := Network{Name: "brief", Subnet: netip.MustParsePrefix("10.82.0.0/28")}
	if err := other.CreateNetwork(ctx, n.Name, n.Subnet.String(), nil, nil); err != nil {
		d.say("make network %s on %s: %v", n.Name, other.Name, err)
		return
	}
	until, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	there := func(h *cluster.Host, want bool) func() error {
		return func() error {
			if h.Engine.Has(n.Name) != want {
				return errNotYet
			}
			return nil
		}
	}
	if err := cluster.Until(until, there(one, true)); err == nil {
		d.say("network %s is removed on %s, and %s starts a container on it", n.Name, other.Name, one.Name)
		one.Weather(late())
		removed := make(chan struct{})
		go func() {
			defer close(removed)
			_, _ = other.Gvlan(until, "network", "rm", n.Name)
		}()
		removing := func() error {
			if def, ok := d.Ledger.Network(n.Name); ok && def.State == store.NetworkActive {
				return errNotYet
			}
			return nil
		}
		var life *history.Life
		if err := cluster.Until(until, removing); err == nil {
			life = d.runOne(one, n, netip.Addr{})
		}
		one.Weather(cluster.Weather{})
		<-removed
		if life != nil {
			one.Halt(context.Background(), d.Book, life)
		}
	}
	gone, cancelGone := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancelGone()
	for _, h := range d.Hosts {
		err := cluster.Until(gone, func() error {
			_ = h.Engine.Remove(gone, n.Name)
			return there(h, false)()
		})
		if err != nil {
			d.say("network %s is still on %s: %v", n.Name, h.Name, err)
		}
	}
}

// givenLate has the gate closed, and an address asked for on a host that was not
// told yet.
func givenLate(ctx context.Context, d *Drive, r *rand.Rand) {
	h := d.anyHost(r)
	d.say("the gate closes, and %s does not know it", h.Name)
	askedUnaware(d, r, h, func() error { return d.Ledger.CloseGate(ctx) })
}

// askedUnaware has something done to the store that a host hears of late, asks
// the host for addresses, and has the cluster recover.
func askedUnaware(d *Drive, r *rand.Rand, h *cluster.Host, do func() error) {
	h.Weather(late())
	if err := do(); err != nil {
		d.say("do that to the store: %v", err)
	}
	for range 3 {
		d.run(h, d.Networks[r.IntN(len(d.Networks))], netip.Addr{})
	}
	h.Weather(cluster.Weather{})
	_ = d.recover() // Finish tries again
}

// lostWrite has the store lose the last write of a node, which then asks for an
// address.
func lostWrite(ctx context.Context, d *Drive, r *rand.Rand) {
	h := d.anyHost(r)
	d.say("the store loses the last write of %s", h.Name)
	askedUnaware(d, r, h, func() error { return d.Ledger.LoseLast(ctx, h.Name, h.Name) })
}

// othersLostWrite has the store lose the last write of a node that is away, and
// another, which has seen it, asked for an address.
func othersLostWrite(ctx context.Context, d *Drive, r *rand.Rand) {
	one, other := d.pair(r)
	// Nobody else writes: the newest write that is known is the lost one.
	d.quiet.Lock()
	wait(ctx, r, 300*time.Millisecond, 500*time.Millisecond)
	d.run(other, d.Networks[0], netip.Addr{})
	wait(ctx, r, 300*time.Millisecond, 500*time.Millisecond)
	d.say("the store loses the last write of %s, which is away", other.Name)
	other.Kill()
	one.Weather(late())
	if err := d.Ledger.LoseLast(ctx, other.Name, ""); err != nil {
		d.say("lose the last write: %v", err)
	}
	for range 2 {
		d.run(one, d.Networks[r.IntN(len(d.Networks))], netip.Addr{})
	}
	one.Weather(cluster.Weather{})
	d.quiet.Unlock()
	other.Start()
	_ = d.recover() // Finish tries again
}

// restored has etcd go back to a backup.
func restored(ctx context.Context, d *Drive, r *rand.Rand) {
	file := d.Dir + "/backup.db"
	if err := d.Etcd.Backup(ctx, file); err != nil {
		d.say("backup: %v", err)
		return
	}
	d.say("a backup is taken")
	wait(ctx, r, 200*time.Millisecond, 3*time.Second)
	d.Ledger.Pause()
	for _, m := range d.Etcd.Members {
		m.Resume()
	}
	if err := d.Etcd.Restore(context.Background(), file); err != nil {
		d.say("restore: %v", err)
	}
	if err := d.Ledger.Restored(context.Background()); err != nil {
		d.say("restore: %v", err)
	}
	d.say("etcd is back as it was in the backup")
	wait(ctx, r, time.Second, 3*time.Second)
	_ = d.recover() // Finish tries again
}

// evicted has a host die and be evicted. It comes back either before its
// addresses may be anybody else's, its containers alive all the time, or after,
// with none.
func evicted(ctx context.Context, d *Drive, r *rand.Rand) {
	one, other := d.pair(r)
	dead := r.IntN(2) == 0
	d.say("the agent of %s is killed (its containers too: %t) and %s evicts it", one.Name, dead, other.Name)
	d.quiet.Lock()
	one.Kill()
	if dead {
		d.lose(one)
	}
	d.quiet.Unlock()
	// The live record of the agent lasts 4 s, and an eviction waits as long.
	wait(ctx, r, 4500*time.Millisecond, 5*time.Second)
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err := other.Gvlan(limit, "node", "evict", one.Name); err != nil {
		d.say("evict %s: %v %s", one.Name, err, out)
	}
	if dead {
		wait(ctx, r, time.Second, 20*time.Second)
	} else {
		wait(ctx, r, 200*time.Millisecond, 3*time.Second)
	}
	one.Start()
	d.say("%s comes back", one.Name)
}

// set changes the definition of a network again and again.
func set(ctx context.Context, d *Drive, r *rand.Rand) {
	h := d.anyHost(r)
	n := d.Networks[r.IntN(len(d.Networks))]
	d.say("network %s is set on %s", n.Name, h.Name)
	for range 5 {
		one, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := h.Gvlan(one, "network", "set", n.Name, []string{"cooldown=1s", "cooldown=2s"}[r.IntN(2)])
		cancel()
		if err != nil {
			d.say("%v", err)
			return
		}
	}
}
