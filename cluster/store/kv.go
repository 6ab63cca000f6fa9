package store

import (
	"context"
	"iter"
)

// Revision is etcd's store-wide counter: it grows by one with every
// transaction that changes a key. Zero means "absent" or "unknown".
type Revision int64

// Item is one key with its value.
type Item struct {
	Key      string   // without the cluster's prefix, starts with "/"
	Value    []byte   // of one record, see Encode
	Created  Revision // when the key last came into being; never 0
	Modified Revision // when it last changed
}

// Span is the half-open interval of keys [From, To).
type Span struct{ From, To string }

// Parts says which parts of its items a Scan reads.
type Parts uint8

const (
	// Whole: everything.
	Whole Parts = iota
	// KeysOnly: all but the Value, which stays nil.
	KeysOnly
)

// CondKind says which revision of a key a Cond compares.
type CondKind uint8

const (
	// Created compares the revision the key was created at; 0 is "absent".
	Created CondKind = iota
	// Modified compares the revision the key last changed at; 0 is "absent".
	Modified
	// NoOlder holds when the key last changed at the revision or later; an
	// absent key counts as 0.
	NoOlder
)

// Cond is one comparison of a transaction: the key's revision of that kind
// equals Is, or is no older.
type Cond struct {
	Key  string
	Kind CondKind
	Is   Revision
}

// Absent holds while the key does not exist.
func Absent(key string) Cond { return Cond{Key: key, Kind: Created} }

// Unchanged holds while the key was last modified at rev.
func Unchanged(key string, rev Revision) Cond { return Cond{Key: key, Kind: Modified, Is: rev} }

// NotBefore holds while the key was last modified at rev or later.
func NotBefore(key string, rev Revision) Cond { return Cond{Key: key, Kind: NoOlder, Is: rev} }

// SameLife holds while the key has existed without a break since it was
// created at rev.
func SameLife(key string, rev Revision) Cond { return Cond{Key: key, Kind: Created, Is: rev} }

// OpKind says what an Op does.
type OpKind uint8

const (
	// OpPut writes a value.
	OpPut OpKind = iota
	// OpDelete removes a key; an absent key is no error.
	OpDelete
	// OpGet reads a key; its item is in Result.Items when it exists.
	OpGet
	// OpNested runs Op.Nested as a transaction of its own; its outcome is in
	// Result.Nested, in order. Conditions are judged against the state
	// before the outermost transaction.
	OpNested
)

// Op is one step of a transaction.
type Op struct {
	Kind   OpKind
	Key    string
	Value  []byte
	Lease  LeaseID // for OpPut: the key goes when this etcd lease does; 0: it stays
	Nested *Txn    // for OpNested
}

// Put writes value under key.
func Put(key string, value []byte) Op { return Op{Kind: OpPut, Key: key, Value: value} }

// Delete removes key.
func Delete(key string) Op { return Op{Kind: OpDelete, Key: key} }

// Get reads key.
func Get(key string) Op { return Op{Kind: OpGet, Key: key} }

// Txn is one atomic step: when every Cond holds Then happens, otherwise
// Else. No key may be written twice by one Txn.
type Txn struct {
	If   []Cond
	Then []Op
	Else []Op
	// Gives says that it gives something new: a Session has it happen only
	// while the cluster's gate is open (see Gate). Backends ignore it.
	Gives bool
	// Epoch is this node's that it was decided in, which its records name: a
	// Session has it happen in no other. 0: any will do. Backends ignore it.
	Epoch int64
}

// DecidedIn returns the Epoch of a transaction, or of one nested in it: one
// transaction has one.
func (t Txn) DecidedIn() int64 {
	if t.Epoch != 0 {
		return t.Epoch
	}
	for _, branch := range [][]Op{t.Then, t.Else} {
		for _, op := range branch {
			if op.Kind == OpNested {
				if epoch := op.Nested.DecidedIn(); epoch != 0 {
					return epoch
				}
			}
		}
	}
	return 0
}

// Result is what a transaction did.
type Result struct {
	Done     bool     // Then ran
	Revision Revision // of the store after it
	Items    []Item   // of the OpGets that ran and found their key, in order
	Nested   []Result // of the OpNested that ran, in order
}

// Item returns the item an OpGet found under key.
func (r Result) Item(key string) (Item, bool) {
	for _, it := range r.Items {
		if it.Key == key {
			return it, true
		}
	}
	return Item{}, false
}

// Event is one change of a watched key.
type Event struct {
	Item    Item // Value is nil when Deleted
	Deleted bool
	At      Revision
}

// Batch is a run of events that belong to one or more whole revisions, in
// order. Revision is the last of them; in a batch without events it says how
// far nothing happened.
type Batch struct {
	Events   []Event
	Revision Revision
}

// KV is the store as the rest of gvlan sees it. Every call ends when its
// context does. Errors: ErrUnavailable when the store did not answer (the
// outcome of a Commit is then unknown), ErrNotFound from Get, ErrCompacted
// from Watch and Scan.
type KV interface {
	// Get reads one key, linearizably.
	Get(ctx context.Context, key string) (Item, error)
	// List reads a span, linearizably and in key order, with the revision
	// it is true of.
	List(ctx context.Context, span Span) ([]Item, Revision, error)
	// Scan reads a span as List does, but hands it over in pages, so that
	// nobody has to hold it whole: in key order, none of them empty, all true
	// of the revision it returns. Each page is a request with a limit of its
	// own; ctx bounds the whole. An error of page's ends the scan and is
	// returned as it is; whatever the error, the pages before it are no span. A
	// revision that is compacted before the last page is ErrCompacted.
	Scan(ctx context.Context, span Span, parts Parts, page func([]Item) error) (Revision, error)
	// Commit runs one transaction.
	Commit(ctx context.Context, txn Txn) (Result, error)
	// Watch yields every change of a span after a revision, in order, until
	// its context ends (then it just stops) or an error is yielded, which
	// is always the last. After 0 means from now on: such a watch first
	// yields an empty batch with the store's revision, once it stands.
	Watch(ctx context.Context, span Span, after Revision) iter.Seq2[Batch, error]
}

// LeaseID names an etcd lease: a time to live that keys can hang from. The
// liveness of nodes and the rest of addresses after an eviction use one; an
// address itself never does.
type LeaseID int64

// Leaser grants the time-limited leases that liveness hangs from.
type Leaser interface {
	// Grant makes a lease that lasts ttl seconds unless kept alive.
	Grant(ctx context.Context, ttl int64) (LeaseID, error)
	// KeepAlive renews a lease until ctx ends (nil) or the lease is gone
	// (ErrNotFound) or the store stops answering (ErrUnavailable). Each reply
	// is told with the revision it bears, which may be that of a member that
	// lags.
	KeepAlive(ctx context.Context, id LeaseID, renewed func(Revision)) error
	// Revoke ends a lease and deletes its keys; an unknown lease is no error.
	Revoke(ctx context.Context, id LeaseID) error
}

// Backend is a whole store: keys, and the leases that liveness hangs from.
type Backend interface {
	KV
	Leaser
}
