package drive

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"gvlan/tests/chaos/cluster"
	"gvlan/tests/chaos/history"
)

// tasks have tasks of the swarm come and go until ctx ends, and the leader
// change.
func tasks(ctx context.Context, d *Drive, r *rand.Rand) {
	for ctx.Err() == nil {
		d.quiet.RLock()
		if r.IntN(30) == 0 {
			h := d.anyHost(r)
			if err := d.Swarm.Lead(ctx, h); err == nil {
				d.say("%s leads the swarm", h.Name)
			}
		}
		task(ctx, d, r)
		d.quiet.RUnlock()
	}
}

// task is one task's life: claimed, run, perhaps moved to another host, ended.
func task(ctx context.Context, d *Drive, r *rand.Rand) {
	calls := context.Background()
	addr, err := d.Swarm.Claim(calls)
	if err != nil {
		wait(ctx, r, 50*time.Millisecond, 100*time.Millisecond)
		return
	}
	for range 1 + r.IntN(3) {
		h := d.anyHost(r)
		life := d.Swarm.Work(calls, d.Book, h, addr)
		wait(ctx, r, 10*time.Millisecond, 200*time.Millisecond)
		if d.Book.Lives(life) {
			h.Halt(calls, d.Book, life)
		}
	}
	_ = d.Swarm.End(calls, addr)
}

// swarmFaults are what the two claims on an address are compared for.
func swarmFaults() []fault {
	return []fault{
		{"two workers", 6, twoWorkers},
		{"manager ends late", 6, managerLate},
		{"worker binds late", 6, workerLate},
	}
}

// twoWorkers has two hosts take the address of one task, one of which is told
// late what it found.
func twoWorkers(ctx context.Context, d *Drive, r *rand.Rand) {
	one, other := d.pair(r)
	addr, err := d.Swarm.Claim(ctx)
	if err != nil {
		return
	}
	d.say("%s and %s run the task of %s", one.Name, other.Name, addr)
	one.Weather(slow())
	both := make(chan *history.Life)
	go func() { both <- d.Swarm.Work(context.Background(), d.Book, one, addr) }()
	wait(ctx, r, 100*time.Millisecond, 200*time.Millisecond)
	second := d.Swarm.Work(context.Background(), d.Book, other, addr)
	first := <-both
	one.Weather(cluster.Weather{})
	end(d, one, first)
	end(d, other, second)
	_ = d.Swarm.End(context.Background(), addr)
}

// slow lets one question be answered before those of others, and nothing of a
// call's time run out.
func slow() cluster.Weather {
	return cluster.Weather{Delay: 600 * time.Millisecond, Deliver: true}
}

// claimed has the swarm claim an address, for a task on another host than the
// leader's; the leader is nil where that cannot be had now.
func claimed(ctx context.Context, d *Drive, r *rand.Rand) (leader, other *cluster.Host, addr netip.Addr) {
	leader = d.Swarm.Leader()
	_, other = d.pair(r)
	if leader == nil || leader == other {
		return nil, nil, addr
	}
	addr, err := d.Swarm.Claim(ctx)
	if err != nil {
		return nil, nil, addr
	}
	return leader, other, addr
}

// managerLate has the manager give an address up while a worker takes it.
func managerLate(ctx context.Context, d *Drive, r *rand.Rand) {
	leader, other, addr := claimed(ctx, d, r)
	if leader == nil {
		return
	}
	d.say("%s gives the claim of %s up, and %s runs its task", leader.Name, addr, other.Name)
	leader.Weather(slow())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = d.Swarm.End(context.Background(), addr) }()
	wait(ctx, r, 100*time.Millisecond, 200*time.Millisecond)
	life := d.Swarm.Work(context.Background(), d.Book, other, addr)
	<-ended
	leader.Weather(cluster.Weather{})
	end(d, other, life)
}

// workerLate has a worker bind an address whose claim the manager gives up.
func workerLate(ctx context.Context, d *Drive, r *rand.Rand) {
	leader, other, addr := claimed(ctx, d, r)
	if leader == nil {
		return
	}
	d.say("%s binds %s, and %s gives its claim up", other.Name, addr, leader.Name)
	ended := make(chan struct{})
	life := d.Swarm.WorkWith(context.Background(), d.Book, other, addr, func() {
		other.Weather(slow())
		go func() {
			defer close(ended)
			time.Sleep(150 * time.Millisecond)
			_ = d.Swarm.End(context.Background(), addr)
		}()
	})
	other.Weather(cluster.Weather{})
	if life == nil || life.Request.Outcome != history.OK { // the task never came to run
		_ = d.Swarm.End(context.Background(), addr)
		return
	}
	<-ended
	end(d, other, life)
}

func end(d *Drive, h *cluster.Host, life *history.Life) {
	if d.Book.Lives(life) {
		h.Halt(context.Background(), d.Book, life)
	}
}
