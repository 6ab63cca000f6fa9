package drive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gvlan/tests/chaos/cluster"
)

// errNotYet: it is not so yet.
var errNotYet = errors.New("not yet")

// fault is one thing that goes wrong, and is over when it returns.
type fault struct {
	name   string
	weight int
	do     func(ctx context.Context, d *Drive, r *rand.Rand)
}

func (d *Drive) anyHost(r *rand.Rand) *cluster.Host { return d.Hosts[r.IntN(len(d.Hosts))] }

// pair draws two hosts.
func (d *Drive) pair(r *rand.Rand) (one, other *cluster.Host) {
	i := r.IntN(len(d.Hosts))
	return d.Hosts[i], d.Hosts[(i+1+r.IntN(len(d.Hosts)-1))%len(d.Hosts)]
}

// wait lasts between least and most.
func wait(ctx context.Context, r *rand.Rand, least, most time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(least + time.Duration(r.Int64N(int64(most-least)))):
	}
}

// weather lasts for a while on one host.
func weather(name string, weight int, w cluster.Weather, least, most time.Duration) fault {
	return fault{name, weight, func(ctx context.Context, d *Drive, r *rand.Rand) {
		h := d.anyHost(r)
		w := w
		w.Deliver = r.IntN(2) == 0
		d.say("%s: %s (delivered after: %t)", name, h.Name, w.Deliver)
		h.Weather(w)
		wait(ctx, r, least, most)
		h.Weather(cluster.Weather{})
		d.say("%s: %s over", name, h.Name)
	}}
}

// catalogue is what can go wrong in this cluster.
func (d *Drive) catalogue() []fault {
	if d.Swarm == nil {
		return common()
	}
	defined := func(f fault) bool { return slices.Contains([]string{"late start", "network set"}, f.name) }
	return append(slices.DeleteFunc(common(), defined), swarmFaults()...)
}

func common() []fault {
	return []fault{
		{"kill -9 of an agent", 10, func(ctx context.Context, d *Drive, r *rand.Rand) {
			h := d.anyHost(r)
			d.say("kill -9 of the agent of %s", h.Name)
			h.Crash()
			wait(ctx, r, 100*time.Millisecond, time.Second)
		}},
		{"an agent away", 4, func(ctx context.Context, d *Drive, r *rand.Rand) {
			h := d.anyHost(r)
			d.say("the agent of %s is away", h.Name)
			h.Kill()
			wait(ctx, r, time.Second, 6*time.Second)
			h.Start()
			d.say("the agent of %s is back", h.Name)
		}},
		{"an agent restarted", 3, func(ctx context.Context, d *Drive, r *rand.Rand) {
			h := d.anyHost(r)
			d.say("the agent of %s is stopped in order", h.Name)
			h.Stop()
			wait(ctx, r, 50*time.Millisecond, time.Second)
			h.Start()
		}},
		{"an agent stopped", 6, func(ctx context.Context, d *Drive, r *rand.Rand) {
			h := d.anyHost(r)
			d.say("SIGSTOP of the agent of %s", h.Name)
			h.Pause()
			wait(ctx, r, 500*time.Millisecond, 6*time.Second)
			h.Resume()
			d.say("SIGCONT of the agent of %s", h.Name)
		}},
		{"kill -9 of etcd", 5, func(ctx context.Context, d *Drive, r *rand.Rand) {
			m := d.Etcd.Members[r.IntN(len(d.Etcd.Members))]
			d.say("kill -9 of etcd at %s", m.Client)
			m.Kill()
			wait(ctx, r, 100*time.Millisecond, 4*time.Second)
			_ = m.Start()
			d.say("etcd at %s is back", m.Client)
		}},
		{"etcd stopped", 4, func(ctx context.Context, d *Drive, r *rand.Rand) {
			m := d.Etcd.Members[r.IntN(len(d.Etcd.Members))]
			d.say("SIGSTOP of etcd at %s", m.Client)
			m.Pause()
			wait(ctx, r, 500*time.Millisecond, 5*time.Second)
			m.Resume()
			d.say("SIGCONT of etcd at %s", m.Client)
		}},
		weather("partition", 5, cluster.Weather{Cut: true}, 500*time.Millisecond, 8*time.Second),
		weather("silence", 5, cluster.Weather{Silent: true}, 500*time.Millisecond, 8*time.Second),
		weather("answers lost", 10, cluster.Weather{Mute: true}, 200*time.Millisecond, 6*time.Second),
		weather("answers late", 6, cluster.Weather{Delay: 300 * time.Millisecond}, time.Second, 5*time.Second),
		{"question outlives its agent", 8, outlived},
		{"release sent twice", 6, releasedTwice},
		{"late binding", 4, boundLate},
		{"late start", 3, startedLate},
		{"late gift", 1, givenLate},
		{"write lost", 1, lostWrite},
		{"another's write lost", 1, othersLostWrite},
		{"backup restored", 2, restored},
		{"eviction", 2, evicted},
		{"network set", 3, set},
		{"compaction", 4, func(ctx context.Context, d *Drive, r *rand.Rand) {
			h := d.anyHost(r)
			d.say("compaction while %s is cut off", h.Name)
			h.Weather(cluster.Weather{Cut: true})
			wait(ctx, r, time.Second, 3*time.Second)
			if err := d.Ledger.Compact(ctx); err != nil {
				d.say("compaction: %v", err)
			}
			h.Weather(cluster.Weather{})
			d.say("compaction: %s is back", h.Name)
		}},
		{"clock jump", 4, func(ctx context.Context, d *Drive, r *rand.Rand) {
			h := d.anyHost(r)
			by := []int64{3600, -3600, 90, -90, 86400 * 400}[r.IntN(5)]
			d.say("the clock of %s is %d s off", h.Name, by)
			_ = h.Jump(by)
			wait(ctx, r, time.Second, 6*time.Second)
			if r.IntN(2) == 0 {
				_ = h.Jump(0)
				d.say("the clock of %s is right again", h.Name)
			}
		}},
		{"disk full", 4, func(ctx context.Context, d *Drive, r *rand.Rand) {
			h := d.anyHost(r)
			d.say("the disk of %s is full", h.Name)
			if err := h.FillDisk(); err != nil {
				d.say("fill the disk of %s: %v", h.Name, err)
			}
			wait(ctx, r, 500*time.Millisecond, 4*time.Second)
			h.FreeDisk()
			d.say("the disk of %s has room", h.Name)
		}},
	}
}

// Faults has things go wrong until ctx ends, one or two at a time.
func (d *Drive) Faults(ctx context.Context) {
	var all sync.WaitGroup
	for line := range 2 {
		all.Go(func() {
			r := d.stream(uint64(1 + line))
			for ctx.Err() == nil {
				wait(ctx, r, 200*time.Millisecond, 2*time.Second)
				d.suffer(ctx, d.pick(r), r)
			}
		})
	}
	all.Wait()
}

// alone are the faults that say what must hold only while nothing else goes
// wrong.
var alone = []string{"late start", "late gift", "write lost", "another's write lost", "backup restored", "eviction"}

func (d *Drive) suffer(ctx context.Context, f fault, r *rand.Rand) {
	if slices.Contains(alone, f.name) {
		d.turn.Lock()
		defer d.turn.Unlock()
	} else {
		d.turn.RLock()
		defer d.turn.RUnlock()
	}
	if ctx.Err() == nil {
		f.do(ctx, d, r)
	}
}

// Repeat has one thing go wrong again and again, until ctx ends or the ledger has
// found something.
func (d *Drive) Repeat(ctx context.Context, name string) {
	r := d.stream(1)
	for ctx.Err() == nil && len(d.Ledger.Found()) == 0 {
		for _, f := range d.catalogue() {
			if f.name == name {
				d.suffer(ctx, f, r)
			}
		}
		wait(ctx, r, 100*time.Millisecond, 300*time.Millisecond)
	}
}

func (d *Drive) pick(r *rand.Rand) fault {
	all, sum := d.catalogue(), 0
	for _, f := range all {
		sum += f.weight
	}
	at := r.IntN(sum)
	for _, f := range all {
		if at < f.weight {
			return f
		}
		at -= f.weight
	}
	panic("unreachable")
}

// Heal ends everything that goes wrong.
func (d *Drive) Heal(ctx context.Context) error {
	for _, m := range d.Etcd.Members {
		m.Resume()
		_ = m.Start()
	}
	for _, h := range d.Hosts {
		h.Weather(cluster.Weather{})
		h.FreeDisk()
		h.Resume()
		h.Start()
	}
	d.say("everything is healed")
	return d.Etcd.Ready(ctx)
}

// found is how long the loss of a write may go unnoticed: an agent that has
// nothing to write reads its last one back when it renews its live record.
const found = 6 * time.Second

// recover waits until the loss is noticed, and opens the gate again once every
// host has written what it holds.
func (d *Drive) recover() error {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	for end := time.Now().Add(found); time.Now().Before(end) && len(d.Ledger.Keys("/recovery/gate")) == 0; {
		time.Sleep(50 * time.Millisecond)
	}
	var refused error
	for ctx.Err() == nil && len(d.Ledger.Found()) == 0 {
		if err := d.Ledger.CatchUp(ctx); err == nil && len(d.Ledger.Keys("/recovery/gate")) == 0 {
			break
		}
		for _, h := range d.Hosts {
			one, cancel := context.WithTimeout(ctx, 6*time.Second)
			_, refused = h.Gvlan(one, "recover", "--wait", "5s")
			cancel()
			if refused == nil {
				break
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	switch {
	case len(d.Ledger.Found()) > 0:
		return nil // the run is judged already
	case ctx.Err() != nil:
		err := fmt.Errorf("the gate stays closed: %w", cmp.Or(refused, ctx.Err()))
		d.say("%v", err)
		return err
	}
	if err := d.Ledger.EndCaution(ctx); err != nil {
		d.say("end the caution: %v", err)
	}
	d.say("the gate is open again")
	return nil
}
