package drive

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/tests/chaos/history"
)

// settled bounds how long it may take until nothing is left of what was given
// back: two looks at the engine and what comes before them.
const settled = 90 * time.Second

// Finish heals everything, stops all containers and finds out whether anything
// leaked: when every container is gone, no address is taken. Then every pool is
// filled to the last address: nothing was lost.
func (d *Drive) Finish(ctx context.Context) []string {
	if err := d.Heal(ctx); err != nil {
		return []string{err.Error()}
	}
	if err := d.Ledger.CatchUp(ctx); err != nil {
		return []string{err.Error()}
	}
	if len(d.Ledger.Keys("/recovery/gate")) > 0 {
		if err := d.recover(); err != nil {
			return []string{err.Error()}
		}
	}
	if err := d.empty(ctx); err != nil {
		return []string{err.Error()}
	}
	d.say("nothing leaked")
	found := d.fill(ctx)
	if err := d.empty(ctx); err != nil {
		found = append(found, "after the pools were filled: "+err.Error())
	}
	return found
}

// empty stops every container and waits until no lease is left.
func (d *Drive) empty(ctx context.Context) error {
	var all sync.WaitGroup
	for _, h := range d.Hosts {
		all.Go(func() { d.haltAll(h) })
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	var left []string
	for {
		if err := d.Ledger.CatchUp(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if left = d.left(); len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("leaked: %s after every container ended, everything was healed and %s passed these are left: %s", d.Book.Now(), settled, strings.Join(left, "; "))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// left is what of containers still stands in the store.
func (d *Drive) left() []string {
	left := append(d.Ledger.Keys("/endpoints/"), d.Ledger.Keys("/macs/")...)
	for key, rec := range d.Ledger.Leases() {
		if rec.State != store.Reserved {
			left = append(left, fmt.Sprintf("%s %s of %s, endpoint %.12s", key, rec.State, rec.Node, rec.Endpoint))
			continue
		}
		for _, by := range rec.By { // local networks, which a swarm has, reserve under no other name
			if _, _, unfinished := store.PoolOf(by); unfinished && d.Swarm == nil {
				left = append(left, fmt.Sprintf("%s reserved by %s", key, by))
			}
		}
	}
	slices.Sort(left)
	return left
}

// fill takes every address there is, all hosts at once.
func (d *Drive) fill(ctx context.Context) (found []string) {
	for _, n := range d.Networks {
		var all sync.WaitGroup
		var mu sync.Mutex
		got, words := 0, map[string]int{}
		for _, h := range d.Hosts {
			all.Go(func() {
				for refused := 0; refused < 3 && ctx.Err() == nil; {
					life := d.run(h, n, netip.Addr{})
					mu.Lock()
					if d.Book.Lives(life) {
						got++
					} else {
						refused++
						if life != nil {
							words[life.Request.Why+life.Bind.Why+life.End.Why]++
						}
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if got != n.capacity() {
			found = append(found, fmt.Sprintf("network %s has room for %d containers, and %d were started: %v", n.Name, n.capacity(), got, words))
		}
	}
	d.say("every pool was filled")
	return found
}

// Judge says what is wrong with the history of the run.
func (d *Drive) Judge() (found []string) {
	lives := d.Book.All()
	found = append(found, d.Ledger.Close()...)
	found = append(found, history.Overlaps(lives)...)
	return append(found, history.Registers(lives)...)
}
