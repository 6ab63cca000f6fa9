package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
)

// Witness tells which hosts came and went, and when this one closed the cluster's
// gate or opened it. A host tells of itself; of one that
// dies the others tell, and the store has that once: under a key of that life of
// the host, absent before.
type Witness struct {
	Recorder *Recorder
	Live     *store.Table[store.Live]  // the agent's
	Epochs   *store.Table[store.Epoch] // the agent's
	Version  string                    // of this agent

	came  bool            // that this agent began was told
	known map[string]life // who is connected, by node
	due   []departure
}

// life is one time that a node is connected.
type life struct {
	live store.Revision // its key was created at
}

// departure is a life that ended, and has to be told of.
type departure struct {
	node string
	life
	at   time.Time // it was seen to be over
	next time.Time // it is looked at
}

const (
	// wentPatience is how long a node that went has to tell so itself, or to come
	// back: a mirror that is listed anew by halves is no departure.
	wentPatience = 2 * time.Second
	// turn is how long each of those who tell of a departure leaves to the one
	// before.
	turn = 3 * time.Second
	// tellers is how many hosts tell of one at most: all of them would be a storm.
	tellers = 3
)

// Run tells until ctx ends. An error means that the store refuses to be read.
func (w *Witness) Run(ctx context.Context, kv store.KV, from Granter) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return gatekeeper{w.Recorder}.run(ctx, kv) })
	group.Go(func() error {
		w.watch(ctx, kv, from)
		return nil
	})
	return group.Wait()
}

// watch reads the tables, and writes of departures.
func (w *Witness) watch(ctx context.Context, kv store.KV, from Granter) {
	for ctx.Err() == nil {
		changed := w.Live.Changed()
		w.look()
		w.tellDue(ctx, kv, from)
		var timer <-chan time.Time
		if len(w.due) > 0 {
			timer = time.After(time.Second)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer:
		}
	}
}

// look compares who is connected with who was.
func (w *Witness) look() {
	rows, current := w.Live.Rows()
	if !current {
		return
	}
	now := map[string]life{}
	for _, row := range rows {
		now[store.NameOf(row.Key)] = life{row.Created}
	}
	for node, was := range w.known {
		if now[node] != was {
			at := w.Recorder.now()
			w.due = append(w.due, departure{node: node, life: was, at: at, next: at.Add(wentPatience)})
		}
	}
	self := w.Recorder.node
	if is, connected := now[self]; connected && (!w.came || w.known[self] != is) {
		w.tellComing(rows[store.LiveKey(self)].Record)
	}
	w.known = now
}

// tellComing tells that this host is connected.
func (w *Witness) tellComing(live store.Live) {
	text := "connected again"
	if !w.came {
		text = "its agent began, gvlan " + w.Version
	}
	w.came = true
	w.Recorder.Tell(Event{Kind: HostCame, Text: text})
}

// tellDue tells of those departures whose time has come.
func (w *Witness) tellDue(ctx context.Context, kv store.KV, from Granter) {
	now := w.Recorder.now()
	var rest []departure
	for _, d := range w.due {
		if now.Before(d.next) {
			rest = append(rest, d)
			continue
		}
		rank := w.rank(d.node)
		_, back := w.known[d.node]
		switch {
		case back, rank >= tellers, w.wasEvicted(d.node), now.Sub(d.at) > hour:
			continue // it tells of itself, others of it, or nobody could be told for long
		case now.Before(d.at.Add(wentPatience + time.Duration(rank)*turn)):
			rest = append(rest, d)
			continue
		}
		e := Event{Kind: HostWent, Node: d.node, Time: d.at, Text: "without a word: it died, or is cut off from the store"}
		if err := w.Recorder.tellEnd(ctx, kv, from, d, e); err != nil {
			d.next = now.Add(turn)
			rest = append(rest, d)
		}
	}
	w.due = rest
}

func (w *Witness) wasEvicted(node string) bool {
	row, _ := w.Epochs.Row(store.EpochKey(node))
	return row.Record.Evicted
}

// rank is this node's place among those who are connected, in the order in which
// they tell of a departure: another one for each node that goes.
func (w *Witness) rank(gone string) int {
	order := slices.SortedFunc(maps.Keys(w.known), func(a, b string) int {
		return bytes.Compare(draw(gone, a), draw(gone, b))
	})
	if rank := slices.Index(order, w.Recorder.node); rank >= 0 {
		return rank
	}
	return tellers // this host is not connected itself
}

func draw(gone, node string) []byte {
	h := fnv.New128a()
	fmt.Fprintf(h, "%s/%s", gone, node)
	return h.Sum(nil)
}

// Leave tells that this host goes, and why. The agent calls it last, while it is
// still connected.
func (r *Recorder) Leave(ctx context.Context, kv store.KV, from Granter, why string) error {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	it, err := kv.Get(ctx, store.LiveKey(r.node))
	if errors.Is(err, store.ErrNotFound) {
		return nil // whoever saw it go tells
	}
	if err != nil {
		return fmt.Errorf("tell that this host goes: %w", err)
	}
	e := Event{Kind: HostWent, Node: r.node, Time: r.now(), Text: why}
	return r.tellEnd(ctx, kv, from, departure{node: r.node, life: life{it.Created}}, e)
}

// tellEnd writes the end of a node's life, unless somebody has.
func (r *Recorder) tellEnd(ctx context.Context, kv store.KV, from Granter, d departure, e Event) error {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	key := store.TrailEndKey(d.node, d.live)
	rec := store.Trail{Node: d.node, Events: []store.TrailEvent{e.trimmed().record(d.node)}}
	err := r.desk.hourly.commit(ctx, r.now(), kv, from, func(lease store.LeaseID) store.Txn {
		put := store.Put(key, store.Encode(rec))
		put.Lease = lease
		return store.Txn{If: []store.Cond{store.Absent(key)}, Then: []store.Op{put}}
	})
	if err != nil {
		return fmt.Errorf("tell that a host went: %w", err)
	}
	return nil
}
