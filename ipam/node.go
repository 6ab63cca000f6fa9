package ipam

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/mirror"
	"gvlan/ipam/pool"
)

// node is this node: what it remembers, and how it speaks to the store.
type node struct {
	Config

	places  *places
	mirrors *mirror.Mirrors
	suspect suspects[pool.Place]
	kick    chan struct{}             // has one element while Run has something to do
	contact atomic.Pointer[time.Time] // when the store last answered; nil: not since the start
	away    atomic.Bool               // the store did not answer the last call
	waited  atomic.Bool               // in vain, for the store to be opened
}

// bounded limits one call's use of the store: Timeout, or a quarter of it
// while the store is known to be away, because Docker's stop makes several
// calls in a row and each of them waits.
func (n *node) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if n.away.Load() {
		return context.WithTimeout(ctx, n.Timeout/4)
	}
	return context.WithTimeout(ctx, n.Timeout)
}

// wake makes Run look at what there is to do.
func (n *node) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// distrust says in one sentence why no new address may be given, or nil.
func (n *node) distrust() error {
	err := n.Self.Trusted()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrSuspect):
		return n.untrusted(err)
	case errors.Is(err, store.ErrFenced):
		return fmt.Errorf("no new address is given on this host: %w: restart its gvlan agent", err)
	}
	return fmt.Errorf("no new address can be given now: %w", err)
}

// untrusted is the sentence for a request while the store's past is lost.
func (n *node) untrusted(err error) error {
	return fmt.Errorf("no new address is given in the cluster: %w: see `gvlan recover`", err)
}

// newLease is a lease of nobody yet.
func (n *node) newLease(at pool.Place, p journal.Pool, kind store.LeaseKind) (journal.Lease, error) {
	nonce, err := mintNonce(n.Rand)
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

// record is a lease as the store keeps it.
func (n *node) record(l journal.Lease) store.Lease {
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
func (n *node) owner(l journal.Lease) string {
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

// commit runs one transaction to a definite outcome. While the reply is
// missing it sends the same transaction again; every transaction of this
// package can tell from what it finds that it has happened before. When ctx
// ends first the error wraps store.ErrUnavailable and nobody knows.
func (n *node) commit(ctx context.Context, txn store.Txn) (store.Result, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		res, err := n.KV.Commit(ctx, txn)
		err = n.heard(ctx, err)
		if !errors.Is(err, store.ErrUnavailable) {
			return res, err
		}
		if !store.Sleep(ctx, pause) {
			return res, err
		}
	}
}

// read gets one key; a zero item is an absent one.
func (n *node) read(ctx context.Context, key string) (store.Item, error) {
	it, err := n.KV.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		_ = n.heard(ctx, nil)
		return store.Item{}, nil
	}
	return it, n.heard(ctx, err)
}

// list reads a span.
func (n *node) list(ctx context.Context, span store.Span) ([]store.Item, store.Revision, error) {
	items, rev, err := n.KV.List(ctx, span)
	return items, rev, n.heard(ctx, err)
}

// heard notes whether the store answers, and makes a call that ended with
// its context what it is: no answer.
func (n *node) heard(ctx context.Context, err error) error {
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

// unanswered is the sentence for a request that the store did not answer.
func (n *node) unanswered(err error) error {
	return fmt.Errorf("no new address can be given now: %w", err)
}

func (n *node) closeDead(ctx context.Context, endpoint string) (bool, error) {
	if n.Endpoints == nil {
		return false, nil
	}
	return n.Endpoints.CloseDead(ctx, endpoint)
}

// definitions are those that can be read, for a sentence: it does not wait
// long for the store.
func (n *node) definitions(ctx context.Context) (defs []store.Network, err error) {
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	items, _, err := n.list(ctx, store.NetworksSpan())
	for _, it := range items {
		if def, err := store.Decode[store.Network](it); err == nil {
			defs = append(defs, def)
		}
	}
	return defs, err
}

// hostOf is the host name of a node, or its id.
func (n *node) hostOf(ctx context.Context, node string) string {
	it, err := n.read(ctx, store.NodeKey(node))
	if err != nil || it.Created == 0 {
		return node
	}
	if rec, err := store.Decode[store.Node](it); err == nil && rec.Host != "" {
		return rec.Host
	}
	return node
}

// namesThisNode spares decoding the records of others.
func (n *node) namesThisNode(it store.Item) bool {
	return bytes.Contains(it.Value, []byte(n.Self.Node()))
}

// isUnknown reports whether a record is this node's by its own words, and none
// that its memory knows.
func (n *node) isUnknown(at pool.Place, it store.Item) bool {
	rec, err := store.Decode[store.Lease](it)
	if err != nil || rec.State != store.Leased || rec.Node != n.Self.Node() {
		return false
	}
	l, ok := n.Memory.Lease(at)
	return !ok || l.Nonce != rec.Nonce
}

// suspectAt has a place compared with the store.
func (n *node) suspectAt(at pool.Place) {
	n.suspect.add(at)
	n.wake()
}

// suspects are things that Run will compare with the store, once each.
type suspects[K comparable] struct {
	mu  sync.Mutex
	all map[K]bool
}

func (s *suspects[K]) add(k K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[K]bool{}
	}
	s.all[k] = true
}

// drain returns them and forgets them.
func (s *suspects[K]) drain() []K {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Keys(s.all))
	clear(s.all)
	return all
}

// withoutStore is what a call needs when the store did not come: asking the LAN
// whether an address may be given again takes most of it.
const withoutStore = 2 * time.Second

// awaitOpening waits for a store that is being opened: for about a second
// after an agent's start it could not be answered otherwise than no, which
// Docker takes for its last word. It waits for most of what a call has, and
// for a quarter of that once it waited in vain: a host that starts without
// its store has many containers to start. What to say is the caller's.
func (n *node) awaitOpening(ctx context.Context) {
	select {
	case <-n.Self.Opened():
		return
	default:
	}
	limit := n.Timeout
	if ends, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(ends)-withoutStore)
	}
	if n.waited.Load() {
		limit /= 4
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-n.Self.Opened():
	case <-waiting.Done():
		n.waited.Store(true)
	}
}

// While the store is away no address can be taken, but one that this node
// gave up and never told the store of is still this node's: nobody else can
// have got it. (Where a release was sent and no answer came, somebody may.) It
// may be given again on the same network, bound in the
// journal alone, and written once the store is back, under the same token.
// That is what brings a rack back from a power cut: containers come up
// before the host that holds etcd does.
//
// It is this node's until an eviction's quarantine could be over. From then on,
// and after a start, when nothing tells how long the store has been away, the
// LAN is asked first.

// recent reports whether the store answered this agent so lately that nobody
// can have been given what this node has. A clock that was set, or stood still
// while the host slept, makes it no younger.
func (n *node) recent() bool {
	last := n.contact.Load()
	if last == nil {
		return false
	}
	now := n.Now()
	ran, shown := now.Sub(*last), now.Round(0).Sub(last.Round(0))
	return max(ran, shown) < store.QuarantineRest && min(ran, shown) > -time.Minute
}

// answers reports whether the store answered the last call, or does now.
func (n *node) answers(ctx context.Context) bool {
	if !n.away.Load() {
		return true
	}
	_, err := n.read(ctx, store.MetaKey())
	return err == nil
}

// learn tells every mirror that covers a place what a transaction showed.
func (n *node) learn(at pool.Place, taken bool, rev store.Revision) {
	for _, m := range n.mirrors.Covering(at) {
		m.Learn(at.Addr, taken, rev)
	}
}

// short is how Docker prints ids.
func short(id string) string { return id[:min(len(id), 12)] }

// mintNonce draws 128 random bits, in hex.
func mintNonce(random io.Reader) (string, error) {
	raw := make([]byte, 16)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("draw random bits: %w", err)
	}
	return hex.EncodeToString(raw), nil
}
