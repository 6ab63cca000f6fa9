package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// Node is this node: what it remembers, and how it speaks to the store.
type Node struct {
	Config

	Places   *Places
	Mirrors  *mirror.Mirrors
	Suspect  Suspects[pool.Place]
	Troubles *trouble.Book             // with the store: told once each
	kick     chan struct{}             // has one element while Run has something to do
	contact  atomic.Pointer[time.Time] // when the store last answered; nil: not since the start
	away     atomic.Bool               // the store did not answer the last call
	Waited   atomic.Bool               // in vain, for the store to be opened
}

// New speaks to nobody yet.
func New(c Config) *Node {
	c.fill()
	return &Node{Config: c, Places: newPlaces(c.Memory), Mirrors: mirror.NewMirrors(draws(c)), Troubles: trouble.NewBook(c.Now, c.Log), kick: make(chan struct{}, 1)}
}

// draws makes nodes that contend choose apart, and one node after each start.
func draws(c Config) rand.Source {
	h := fnv.New64a()
	h.Write([]byte(c.Self.Node()))
	return rand.NewPCG(h.Sum64(), uint64(c.Now().UnixNano()))
}

// Bounded limits one call's use of the store: Timeout, or a quarter of it
// while the store is known to be away, because Docker's stop makes several
// calls in a row and each of them waits.
func (n *Node) Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if n.away.Load() {
		return context.WithTimeout(ctx, n.Timeout/4)
	}
	return context.WithTimeout(ctx, n.Timeout)
}

// Wake makes Run look at what there is to do.
func (n *Node) Wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Woken has an element while Run has something to do.
func (n *Node) Woken() <-chan struct{} { return n.kick }

// IsAway reports whether the store did not answer the last call.
func (n *Node) IsAway() bool { return n.away.Load() }

// Distrust says in one sentence why no new address may be given, or nil.
func (n *Node) Distrust() error {
	err := n.Self.Trusted()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrSuspect):
		return n.Untrusted(err)
	case errors.Is(err, store.ErrFenced):
		return fmt.Errorf("no new address is given on this host: %w: restart its gvlan agent", err)
	}
	return fmt.Errorf("no new address can be given now: %w", err)
}

// Untrusted is the sentence for a request while the store's past is lost.
func (n *Node) Untrusted(err error) error {
	return fmt.Errorf("no new address is given in the cluster: %w: see `gvlan recover`", err)
}

// NewLease is a lease of nobody yet.
func (n *Node) NewLease(at pool.Place, p journal.Pool, kind store.LeaseKind) (journal.Lease, error) {
	nonce, err := MintNonce(n.Rand, LeaseNonce)
	return journal.Lease{
		Segment: at.Segment,
		Address: at.Addr,
		Nonce:   nonce,
		Kind:    kind,
		Since:   n.Now().Unix(),
		Network: p.Network,
		Pool:    p.ID,
		State:   journal.Given,
		Claimed: p.ByWorker(),
	}, err
}

// Record is a lease as the store keeps it.
func (n *Node) Record(l journal.Lease) store.Lease {
	rec := store.Lease{
		State:    store.Leased,
		Kind:     l.Kind,
		Node:     n.Self.Node(),
		Epoch:    n.Self.Epoch(),
		Nonce:    l.Nonce,
		Network:  n.owner(l),
		Endpoint: l.Endpoint,
		Since:    l.Since,
	}
	if l.Claimed {
		rec.Claims = &store.Claims{Worker: true}
	}
	return rec
}

// owner is how the store names the network of a lease.
func (n *Node) owner(l journal.Lease) string {
	if joined, ok := n.Memory.Addressing(l.Network); ok && joined.UUID != "" {
		return joined.UUID
	}
	if l.Network != "" {
		return store.EngineNetwork(l.Network)
	}
	id, err := pool.ParseID(l.Pool)
	if err != nil {
		return ""
	}
	return store.PoolEntry(id.Nonce, n.Self.Node())
}

// firstPause and longestPause stand between two tries of one transaction.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// Commit runs one transaction to a definite outcome. While the reply is
// missing it sends the same transaction again; every transaction of this
// package can tell from what it finds that it has happened before. When ctx
// ends first, or the session is opened anew, the error wraps store.ErrUnavailable
// and nobody knows.
func (n *Node) Commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		res, err := n.KV.Commit(ctx, txn)
		err = n.heard(ctx, err)
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutdated) {
			return res, err
		}
		if !store.Sleep(ctx, pause) {
			return res, err
		}
	}
}

// Read gets one key; a zero item is an absent one.
func (n *Node) Read(ctx context.Context, key string) (store.Item, error) {
	it, err := n.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		_ = n.heard(ctx, nil)
		return store.Item{}, nil
	}
	return it, n.heard(ctx, err)
}

// List reads a span.
func (n *Node) List(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	items, rev, err := n.KV.List(ctx, span)
	return items, rev, n.heard(ctx, err)
}

// Scan reads a span page by page.
func (n *Node) Scan(ctx context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	rev, err := n.KV.Scan(ctx, span, parts, page)
	return rev, n.heard(ctx, err)
}

// heard notes whether the store answers, and makes a call that ended with
// its context what it is: no answer.
func (n *Node) heard(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	n.away.Store(errors.Is(err, store.ErrUnavailable))
	if err == nil {
		now := n.Now()
		n.contact.Store(&now)
	}
	return err
}

// Unanswered is the sentence for a request that the store did not answer.
func (n *Node) Unanswered(err error) error {
	return fmt.Errorf("no new address can be given now: %w", err)
}

// CloseDead closes an endpoint if the driver finds it dead.
func (n *Node) CloseDead(ctx context.Context, endpoint string) (bool, error) {
	if n.Endpoints == nil {
		return false, nil
	}
	return n.Endpoints.CloseDead(ctx, endpoint)
}

// Definitions are those that can be read, for a sentence: it does not wait
// long for the store.
func (n *Node) Definitions(ctx context.Context) (defs []store.Network, err error) {
	ctx, cancel := n.Bounded(ctx)
	defer cancel()
	items, _, err := n.List(ctx, store.NetworksSpan())
	for _, it := range items {
		if def, err := store.Decode[store.Network](it); err == nil {
			defs = append(defs, def)
		}
	}
	return defs, err
}

// HostOf is the host name of a node, or its id.
func (n *Node) HostOf(ctx context.Context, node string) string {
	it, err := n.Read(ctx, store.NodeKey(node))
	if err != nil || it.Created == 0 {
		return node
	}
	if rec, err := store.Decode[store.Node](it); err == nil && rec.Host != "" {
		return rec.Host
	}
	return node
}

// NamesThisNode spares decoding the records of others.
func (n *Node) NamesThisNode(it store.Item) bool {
	return bytes.Contains(it.Value, []byte(n.Self.Node()))
}

// IsUnknown reports whether a record is this node's by its own words, and none
// that its memory knows.
func (n *Node) IsUnknown(at pool.Place, it store.Item) bool {
	rec, err := store.Decode[store.Lease](it)
	if err != nil || rec.State != store.Leased || rec.Node != n.Self.Node() {
		return false
	}
	l, ok := n.Memory.Lease(at)
	return !ok || l.Nonce != rec.Nonce
}

// SuspectAt has a place compared with the store.
func (n *Node) SuspectAt(at pool.Place) {
	n.Suspect.Add(at)
	n.Wake()
}

// Suspects are things that Run will compare with the store, once each.
type Suspects[K comparable] struct {
	mu  sync.Mutex
	all map[K]bool
}

// Add has a thing compared.
func (s *Suspects[K]) Add(k K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[K]bool{}
	}
	s.all[k] = true
}

// Drain returns them and forgets them.
func (s *Suspects[K]) Drain() []K {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Keys(s.all))
	clear(s.all)
	return all
}

// WithoutStore is what a call needs when the store did not come: asking the LAN
// whether an address may be given again takes most of it.
const WithoutStore = 2 * time.Second

// AwaitOpening waits for a store that is being opened: for about a second
// after an agent's start it could not be answered otherwise than no, which
// Docker takes for its last word. It waits for most of what a call has, and
// for a quarter of that once it waited in vain: a host that starts without
// its store has many containers to start. What to say is the caller's.
func (n *Node) AwaitOpening(ctx context.Context) {
	select {
	case <-n.Self.Opened():
		return
	default:
	}
	limit := n.Timeout
	if ends, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(ends)-WithoutStore)
	}
	if n.Waited.Load() {
		limit /= 4
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-n.Self.Opened():
	case <-waiting.Done():
		n.Waited.Store(true)
	}
}

// Recent reports whether the store answered this agent so lately that nobody
// can have been given what this node has. A clock that was set, or stood still
// while the host slept, makes it no younger.
func (n *Node) Recent() bool {
	last := n.contact.Load()
	if last == nil {
		return false
	}
	now := n.Now()
	ran, shown := now.Sub(*last), now.Round(0).Sub(last.Round(0))
	return max(ran, shown) < store.QuarantineRest && min(ran, shown) > -time.Minute
}

// Answers reports whether the store answered the last call, or does now.
func (n *Node) Answers(ctx context.Context) bool {
	if !n.away.Load() {
		return true
	}
	_, err := n.Read(ctx, store.MetaKey())
	return err == nil
}

// Learn tells every mirror that covers a place what a transaction showed.
func (n *Node) Learn(at pool.Place, shown mirror.Shown, rev store.Revision) {
	for _, m := range n.Mirrors.Covering(at) {
		m.Learn(at.Addr, shown, rev)
	}
}

// Short is how Docker prints ids.
func Short(id string) string { return id[:min(len(id), 12)] }

// How many random bits a nonce has. A lease's is compared with what one key
// holds; a pool's names the pool in the whole cluster.
const (
	LeaseNonce = 64
	PoolNonce  = 128
)

// MintNonce draws random bits, in hex.
func MintNonce(random io.Reader, bits int) (string, error) {
	raw := make([]byte, bits/8)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("draw random bits: %w", err)
	}
	return hex.EncodeToString(raw), nil
}
