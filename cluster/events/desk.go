package events

import (
	"context"
	"fmt"
	"time"

	"gvlan/cluster/store"
)

const (
	// keptOfNode is how many events of one host the store has at most.
	keptOfNode = 500
	// batchesAtOnce bounds one transaction, in records that it puts.
	batchesAtOnce = 20
	// writePatience is how long the store may take for one.
	writePatience = 5 * time.Second
)

// desk brings what this host told into the store, and keeps that bounded.
type desk struct {
	node   string
	ring   *ring
	hourly *hourly
	now    func() time.Time

	listed time.Time // when what follows was read; zero: it is not known
	there  []held
	left   tally // that is not there any more
}

// held is a record of this node's in the store.
type held struct {
	number int64
	events int
}

// send writes what the store does not have yet.
func (d *desk) send(ctx context.Context, kv store.KV, from Granter) error {
	for {
		unsent := d.ring.unsent()
		if len(unsent) == 0 {
			return nil
		}
		if err := d.sendSome(ctx, kv, from, unsent[:min(len(unsent), batchesAtOnce)]); err != nil {
			return err
		}
	}
}

// sendSome writes batches in one transaction, which takes away the oldest
// records beyond what a host may have. One that happened and whose answer was
// lost is repeated as it was: the same keys say the same.
func (d *desk) sendSome(ctx context.Context, kv store.KV, from Granter, batches []batch) error {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	if err := d.list(ctx, kv); err != nil {
		return err
	}
	d.forgetOld()
	lost := d.ring.takeLeft()
	d.left.add(lost.count, lost.since)
	there, left := d.there, d.left
	for _, b := range batches {
		if n := len(there); n == 0 || there[n-1].number < b.number {
			there = append(there[:n:n], held{b.number, len(b.events)})
		}
	}
	var ops []store.Op
	over := -keptOfNode
	for _, h := range there {
		over += h.events
	}
	gone := map[int64]bool{}
	for over > 0 {
		oldest := there[0]
		there = there[1:]
		over -= oldest.events
		left.add(oldest.events, time.UnixMilli(oldest.number))
		gone[oldest.number] = true
		ops = append(ops, store.Delete(store.TrailKey(d.node, oldest.number)))
	}
	err := d.hourly.commit(ctx, d.now(), kv, from, func(lease store.LeaseID) store.Txn {
		then := ops
		for _, b := range batches {
			if gone[b.number] {
				continue
			}
			rec := b.record(d.node)
			if left.count > 0 {
				rec.Left, rec.LeftSince = left.count, left.since.UnixMilli()
			}
			put := store.Put(store.TrailKey(d.node, b.number), store.Encode(rec))
			put.Lease = lease
			then = append(then[:len(then):len(then)], put)
		}
		return store.Txn{Then: then}
	})
	if err != nil {
		d.listed = time.Time{} // nobody knows what is there
		return fmt.Errorf("tell the cluster what happened here: %w", err)
	}
	d.there, d.left = there, left
	d.ring.wrote(batches[len(batches)-1].number)
	return nil
}

// list learns what the store has of this node, once an hour.
func (d *desk) list(ctx context.Context, kv store.KV) error {
	if d.now().Sub(d.listed) < hour {
		return nil // what ended since with its lease counts for a while longer
	}
	items, _, err := kv.List(ctx, store.TrailSpan(d.node))
	if err != nil {
		return fmt.Errorf("list what this node told: %w", err)
	}
	d.there = nil
	for _, it := range items {
		number, ok := store.TrailNumber(it.Key)
		if !ok {
			continue
		}
		rec, err := store.Decode[store.Trail](it)
		if err != nil {
			rec = store.Trail{} // counts for nothing, and ends with its lease
		}
		d.there = append(d.there, held{number, len(rec.Events)})
		if told := (tally{rec.Left, time.UnixMilli(rec.LeftSince)}); told.count > d.left.count {
			d.left = told
		}
	}
	d.listed = d.now()
	return nil
}

// forgetOld forgets what went so long ago that it would be gone anyway.
func (d *desk) forgetOld() {
	if d.left.count > 0 && d.now().Sub(d.left.since) > day+hour {
		d.left = tally{}
	}
}
