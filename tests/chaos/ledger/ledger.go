// Package ledger follows etcd's own history, revision by revision, and judges
// what every writer did.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
)

const prefix = "/gvlan/v1"

// Dial connects to the members of etcd as they are now.
type Dial func() (*clientv3.Client, error)

// Ledger is the state of the store as its history says it.
type Ledger struct {
	dial Dial
	now  func() time.Duration

	mu       sync.Mutex
	state    map[string]store.Item // by key, below the prefix
	revision int64                 // of state
	book     *rules
	failed   error
	cancel   context.CancelFunc
	done     chan struct{}
}

// Open follows the store from its first revision on.
func Open(dial Dial, now func() time.Duration, died DiedBefore) *Ledger {
	l := &Ledger{dial: dial, now: now, state: map[string]store.Item{}, book: newRules(now, died)}
	l.follow()
	return l
}

// follow begins to follow from the revision that is known.
func (l *Ledger) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.done = cancel, make(chan struct{})
	go func() {
		defer close(l.done)
		for ctx.Err() == nil {
			err := l.read(ctx)
			if errors.Is(err, rpctypes.ErrCompacted) {
				l.mu.Lock()
				l.failed = fmt.Errorf("the history was compacted before it was read: %w", err)
				l.mu.Unlock()
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

func (l *Ledger) read(ctx context.Context) error {
	client, err := l.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	l.mu.Lock()
	from := l.revision + 1
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for answer := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithProgressNotify()) {
		if err := answer.Err(); err != nil {
			return err
		}
		l.take(answer)
	}
	return ctx.Err()
}

// take applies whole revisions.
func (l *Ledger) take(answer clientv3.WatchResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 0; i < len(answer.Events); {
		rev, end := answer.Events[i].Kv.ModRevision, i
		for end < len(answer.Events) && answer.Events[end].Kv.ModRevision == rev {
			end++
		}
		l.apply(rev, answer.Events[i:end])
		i = end
	}
	if len(answer.Events) == 0 {
		l.revision = max(l.revision, answer.Header.Revision)
	}
}

func (l *Ledger) apply(rev int64, events []*clientv3.Event) {
	if rev <= l.revision {
		return
	}
	step := revision{at: rev, seen: l.now(), before: l.state, after: map[string]*store.Item{}}
	for _, e := range events {
		key := strings.TrimPrefix(string(e.Kv.Key), prefix)
		if e.Type == mvccpb.Event_DELETE {
			step.after[key] = nil
			continue
		}
		step.after[key] = &store.Item{Key: key, Value: e.Kv.Value, Created: store.Revision(e.Kv.CreateRevision), Modified: store.Revision(rev)}
	}
	l.book.judge(step)
	for key, it := range step.after {
		if it == nil {
			delete(l.state, key)
		} else {
			l.state[key] = *it
		}
	}
	l.revision = rev
	l.book.count(step, l.state)
}

// Revision is the last that was read.
func (l *Ledger) Revision() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision
}

// CatchUp waits until the ledger has read all that stands in etcd now.
func (l *Ledger) CatchUp(ctx context.Context) error {
	client, err := l.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	got, err := client.Get(ctx, "none")
	if err != nil {
		return err
	}
	// A progress that was asked for may be missing: the watch is of a prefix, and
	// others write nothing there.
	last, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(1), clientv3.WithKeysOnly(), clientv3.WithRev(got.Header.Revision))
	if err != nil {
		return err
	}
	want := int64(0)
	if len(last.Kvs) > 0 {
		want = last.Kvs[0].ModRevision
	}
	for {
		l.mu.Lock()
		have, failed := l.revision, l.failed
		l.mu.Unlock()
		if failed != nil {
			return failed
		}
		if have >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("read the history up to revision %d, have %d: %w", want, have, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Compact forgets what the ledger has read.
func (l *Ledger) Compact(ctx context.Context) error {
	client, err := l.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Compact(ctx, l.Revision())
	return err
}

// Restored tells that etcd has gone back to an older state: the ledger reads
// that state, and goes on from it. Between Pause and it nothing is read.
func (l *Ledger) Restored(ctx context.Context) error {
	client, err := l.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	got, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	l.mu.Lock()
	lost := l.state
	l.state, l.revision = map[string]store.Item{}, got.Header.Revision
	for _, kv := range got.Kvs {
		key := strings.TrimPrefix(string(kv.Key), prefix)
		l.state[key] = store.Item{Key: key, Value: kv.Value, Created: store.Revision(kv.CreateRevision), Modified: store.Revision(kv.ModRevision)}
	}
	l.book.restored(lost, l.state)
	l.mu.Unlock()
	l.follow()
	return nil
}

// Pause ends the reading, before etcd goes back.
func (l *Ledger) Pause() {
	l.cancel()
	<-l.done
}

// Close ends the reading and returns what was found against the rules.
func (l *Ledger) Close() []string {
	l.Pause()
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.book.found
	if l.failed != nil {
		found = append(found, l.failed.Error())
	}
	return found
}

// Found is what was found so far.
func (l *Ledger) Found() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.book.found...)
}

// Leases are the records of addresses that stand in the store, by key.
func (l *Ledger) Leases() map[string]store.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string]store.Lease{}
	for key, it := range l.state {
		if _, _, err := store.LeaseOf(key); err != nil {
			continue
		}
		if rec, err := store.Decode[store.Lease](it); err == nil {
			all[key] = rec
		}
	}
	return all
}

// Network is the definition of that name as it stands.
func (l *Ledger) Network(name string) (store.Network, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it, ok := l.state[store.NetworkKey(name)]
	if !ok {
		return store.Network{}, false
	}
	n, err := store.Decode[store.Network](it)
	return n, err == nil
}

// Keys are the keys below a folder that stand in the store.
func (l *Ledger) Keys(folder string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for key := range l.state {
		if strings.HasPrefix(key, folder) {
			all = append(all, key)
		}
	}
	return all
}
