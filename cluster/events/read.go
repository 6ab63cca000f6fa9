package events

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gvlan/cluster/store"
)

// Filter says which events are wanted: those that fit each field that is set.
type Filter struct {
	Address   netip.Addr
	MAC       string
	Container string   // name
	Network   string   // name
	Nodes     []string // ids of those it happened on; any of them
	Kinds     []Kind   // any of them
	Since     time.Time
	Limit     int // the newest ones; 0: all
}

// keeps reports whether an event is wanted.
func (f Filter) keeps(e Event) bool {
	return (!f.Address.IsValid() || e.Address == f.Address) &&
		(f.MAC == "" || e.MAC == f.MAC) &&
		(f.Container == "" || e.Container == f.Container) &&
		(f.Network == "" || e.Network == f.Network) &&
		(len(f.Nodes) == 0 || slices.Contains(f.Nodes, e.Node)) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind)) &&
		!e.Time.Before(f.Since)
}

// of are the events that are wanted, at most the newest Limit.
func (f Filter) of(all []Event) []Event {
	var kept []Event
	for _, e := range all {
		if f.keeps(e) {
			kept = append(kept, e)
		}
	}
	return f.newest(kept)
}

func (f Filter) newest(all []Event) []Event {
	if f.Limit > 0 && len(all) > f.Limit {
		return all[len(all)-f.Limit:]
	}
	return all
}

// words are what a record holds, as text, if it has an event that is wanted: so
// that of many records few are read.
func (f Filter) words() (all [][]byte) {
	for _, field := range []struct {
		name, value string
	}{{"a", text(f.Address)}, {"m", f.MAC}, {"c", f.Container}, {"n", f.Network}} {
		if field.value == "" {
			continue
		}
		raw, err := json.Marshal(field.value)
		if err == nil { // a text has no other outcome
			all = append(all, fmt.Appendf(nil, `"%s":%s`, field.name, raw))
		}
	}
	return all
}

func text(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}

// Read returns what happened in the cluster's last day, the oldest first. Of one
// host the order is that in which things happened; hosts' clocks differ, so
// between two hosts it is as good as their clocks.
func Read(ctx context.Context, kv store.KV, f Filter) ([]Event, error) {
	r := newReading(f)
	if _, err := kv.Scan(ctx, store.TrailsSpan(), store.Whole, r.page); err != nil {
		return nil, fmt.Errorf("read what happened: %w", err)
	}
	return r.end(), nil
}

// reading goes through the records of every node, one node after the other, and
// holds those of one node only.
type reading struct {
	filter Filter
	words  [][]byte // all of which a record has
	kinds  [][]byte // one of which it has; nil: any
	nodes  [][]byte // likewise

	folder  string // of the node whose records follow
	records []store.Item
	placed  []placed
}

// placed is an event with its place among all others: a node's events stay in
// their order, whatever its clock did.
type placed struct {
	Event
	at time.Time
}

func newReading(f Filter) *reading {
	r := &reading{filter: f, words: f.words()}
	for _, kind := range f.Kinds {
		r.kinds = append(r.kinds, fmt.Appendf(nil, `"k":"%s"`, kind))
	}
	for _, node := range f.Nodes {
		if raw, err := json.Marshal(node); err == nil {
			r.nodes = append(r.nodes, raw)
		}
	}
	return r
}

// page takes the next records, in key order.
func (r *reading) page(items []store.Item) error {
	for _, it := range items {
		folder := it.Key[:len(it.Key)-len(store.NameOf(it.Key))]
		if folder != r.folder {
			r.endNode()
			r.folder = folder
		}
		r.records = append(r.records, it)
	}
	return nil
}

// endNode reads the records of a node, the newest first: of many, the newest are
// enough.
func (r *reading) endNode() {
	records := r.records
	r.records = nil
	var told [][]Event // by record, the newest first
	count := 0
	completing := map[Event]bool{} // what newer records completed, which is no event more
	first, left := true, []Event(nil)
	for i, it := range slices.Backward(records) {
		number, own := store.TrailNumber(it.Key)
		if own && first {
			first = false
			left = r.leftOut(it, records[:i+1])
		}
		if own && r.filter.Limit > 0 && count >= r.filter.Limit || !r.mayHold(it) {
			continue
		}
		if own && time.UnixMilli(number).Before(r.filter.Since) {
			continue // it was written later than all it tells of
		}
		events := r.filter.of(eventsIn(it))
		if own {
			told = append(told, events)
			for _, e := range slices.Backward(events) {
				nameless := e
				nameless.Container = ""
				if completing[nameless] {
					continue
				}
				completing[nameless] = e.Kind == Given && e.Container != ""
				count++
			}
		} else {
			r.place(events)
		}
	}
	var all []Event
	for _, events := range slices.Backward(told) {
		all = append(all, events...)
	}
	r.place(append(left, completed(all)...))
}

// mayHold reports whether a record's text has every word that is looked for.
func (r *reading) mayHold(it store.Item) bool {
	has := func(word []byte) bool { return bytes.Contains(it.Value, word) }
	lacks := func(word []byte) bool { return !has(word) }
	one := func(of [][]byte) bool { return len(of) == 0 || slices.ContainsFunc(of, has) }
	return !slices.ContainsFunc(r.words, lacks) && one(r.kinds) && one(r.nodes)
}

// leftOut tells what is missing before a node's records, by the newest of them.
func (r *reading) leftOut(newest store.Item, all []store.Item) []Event {
	rec, err := store.Decode[store.Trail](newest)
	if err != nil || rec.Left == 0 {
		return nil
	}
	oldest, _ := store.TrailNumber(all[0].Key)
	e := Event{
		Time: time.UnixMilli(oldest), Kind: LeftOut, Node: rec.Node,
		Text: fmt.Sprintf("%d events since %s are not kept any more", rec.Left, time.UnixMilli(rec.LeftSince).UTC().Format("15:04 MST")),
	}
	return r.filter.of([]Event{e})
}

// place puts a node's events, which are in order, among the others'.
func (r *reading) place(events []Event) {
	var at time.Time
	for _, e := range events {
		if e.Time.After(at) {
			at = e.Time
		}
		r.placed = append(r.placed, placed{e, at})
	}
}

// end returns all that was found.
func (r *reading) end() []Event {
	r.endNode()
	slices.SortStableFunc(r.placed, func(a, b placed) int { return a.at.Compare(b.at) })
	all := make([]Event, len(r.placed))
	for i, p := range r.placed {
		all[i] = p.Event
	}
	return r.filter.newest(all)
}

// eventsIn reads one record; what cannot be read is nothing that happened.
func eventsIn(it store.Item) []Event {
	rec, err := store.Decode[store.Trail](it)
	if err != nil {
		return nil
	}
	all := make([]Event, len(rec.Events))
	for i, e := range rec.Events {
		all[i] = eventOf(e, rec.Node)
	}
	return all
}

// lacking are those of the events that were not read.
func (r *reading) lacking(events []Event) []Event {
	read := map[Event]bool{}
	for _, e := range events {
		read[e] = false
	}
	for _, p := range r.placed {
		if _, asked := read[p.Event]; asked {
			read[p.Event] = true
		}
	}
	return slices.DeleteFunc(events, func(e Event) bool { return read[e] })
}
