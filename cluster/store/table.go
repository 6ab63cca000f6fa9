package store

import (
	"context"
	"maps"
	"sync"
)

// Row is a record with its key and the revisions it was read at.
type Row[T any] struct {
	Key      string
	Record   T
	Created  Revision // when the key came into being
	Modified Revision // when it last changed
}

// Table is a mirror of a span whose keys all hold records of one type. One
// Follow feeds it, however many read it. Like every mirror it may lag.
type Table[T any] struct {
	span    Span
	unread  func(error)
	readers []func(Change)

	mu      sync.Mutex
	rows    map[string]Row[T] // by key
	listed  bool              // the first list has arrived
	rev     Revision          // the table is true of
	awaited Revision          // see Await
	changed chan struct{}     // closed at the next change
}

// NewTable makes an empty table of a span; Run fills it. unread hears of each
// record that cannot be read: the table goes on with what it held under the
// key, as long as that is the same key and was not deleted in between.
func NewTable[T any](span Span, unread func(error)) *Table[T] {
	return &Table[T]{span: span, unread: unread, rows: map[string]Row[T]{}, changed: make(chan struct{})}
}

// Tell has a reader hear of every change once the table holds it, one after the
// other. It is called before Run.
func (t *Table[T]) Tell(reader func(Change)) { t.readers = append(t.readers, reader) }

// Run follows the span until ctx ends, as Follow does.
func (t *Table[T]) Run(ctx context.Context, kv KV) error { return Follow(ctx, kv, t.span, t.Apply) }

// Apply takes over what a Follow reports; Run does.
func (t *Table[T]) Apply(c Change) {
	t.merge(c)
	for _, reader := range t.readers {
		reader(c)
	}
}

func (t *Table[T]) merge(c Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.Reset {
		if c.Revision < t.rev {
			t.awaited = 0 // an older store took the place of the one that was written to
		}
		former := t.rows
		t.rows, t.listed = make(map[string]Row[T], len(c.Items)), true
		for _, it := range c.Items {
			if row, found := former[it.Key]; found && row.Created == it.Created {
				t.rows[it.Key] = row // stands where put cannot read what is there now
			}
		}
	}
	t.rev = c.Revision
	for _, it := range c.Items {
		t.put(it)
	}
	for _, ev := range c.Events {
		if ev.Deleted {
			delete(t.rows, ev.Item.Key)
		} else {
			t.put(ev.Item)
		}
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *Table[T]) put(it Item) {
	record, err := Decode[T](it)
	if err != nil {
		t.unread(err)
		return
	}
	t.rows[it.Key] = Row[T]{Key: it.Key, Record: record, Created: it.Created, Modified: it.Modified}
}

// Await makes the table not current until it shows what was written at a
// revision: a record that is missing only because the mirror lags must not look
// deleted to who just wrote it.
func (t *Table[T]) Await(written Revision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaited = max(t.awaited, written)
}

// Rows copies the table. current is false before the first list, and while the
// table is older than what Await was told of.
func (t *Table[T]) Rows() (rows map[string]Row[T], current bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.rows), t.listed && t.rev >= t.awaited
}

// Each shows every row, in no order, and copies none; f must not ask the table.
func (t *Table[T]) Each(f func(Row[T])) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.rows {
		f(row)
	}
}

// Row returns what a key holds.
func (t *Table[T]) Row(key string) (row Row[T], found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, found = t.rows[key]
	return row, found
}

// Listed reports whether the first list has arrived.
func (t *Table[T]) Listed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listed
}

// Changed returns a channel that is closed at the next change, be it that
// nothing happened up to a later revision.
func (t *Table[T]) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}
