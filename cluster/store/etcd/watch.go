package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"

	"gvlan/cluster/store"
)

// progressEvery is how often a watch asks etcd how far it is, so that a mirror
// of a quiet span knows. The answer also shows a store that is another one.
const progressEvery = 10 * time.Second

// unansweredLimit is how many such questions in a row a watch may leave without
// an answer or an event: then it hangs, and ends. It is more than one, since this
// process may itself have stood still while the answer waited. etcd 3.7.3 leaves
// them unanswered too where the store went back below the watch, and after a
// connection was made anew until something is written; to list anew is right for
// the one and no harm for the other.
const unansweredLimit = 2

// streamHeader says which of a client's streams a watch is on: etcd's client puts
// watches whose headers are the same on one, which ends when its last watch does.
// After one that hangs comes the next number, so that no watch is taken up again
// on a silent stream that others still have.
const streamHeader = "gvlan-watches"

// errHangs ends a watch whose connection lives and that says nothing.
var errHangs = errors.New("the watch does not answer")

// Watch implements KV. It resumes by itself when the connection is lost. A
// store that is another one or went back ends it with ErrCompacted; so does,
// needlessly, a member that lags. A watch that hangs ends with ErrUnavailable.
func (e *Client) Watch(ctx context.Context, span store.Span, after store.Revision) iter.Seq2[store.Batch, error] {
	return func(yield func(store.Batch, error) bool) {
		err := e.watch(ctx, span, after, func(b store.Batch) bool { return yield(b, nil) })
		if err != nil && ctx.Err() == nil {
			yield(store.Batch{}, fmt.Errorf("watch %s: %w", span.From, err))
		}
	}
}

// watch yields batches until yield has enough or ctx ends (nil), or the
// watch cannot go on.
func (e *Client) watch(ctx context.Context, span store.Span, after store.Revision, yield func(store.Batch) bool) error {
	client, err := e.connected(ctx)
	if err != nil {
		return explain(err)
	}
	// Without a leader a member would keep the watch in silence.
	stream := e.stream.Load()
	ctx = metadata.AppendToOutgoingContext(clientv3.WithRequireLeader(ctx), streamHeader, strconv.FormatInt(stream, 10))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := int64(after) + 1
	if after == 0 {
		from = 0 // etcd's word for now
	}
	begun := time.AfterFunc((unansweredLimit+1)*e.progress, cancel)
	responses := client.Watch(ctx, e.prefix+span.From, // returns once the watch stands
		clientv3.WithRange(e.prefix+span.To), clientv3.WithRev(from),
		clientv3.WithCreatedNotify(), clientv3.WithProgressNotify(), clientv3.WithFragment())
	if !begun.Stop() {
		return e.hangs(client, stream)
	}
	w := watching{etcd: e, after: after}
	ask := time.NewTicker(e.progress)
	defer ask.Stop()
	unanswered, heard := 0, time.Now()
	for {
		select {
		case <-ask.C:
			if unanswered == unansweredLimit {
				return e.hangs(client, stream)
			}
			asked := e.asked.ask(stream, e.progress/2, func() { requestProgress(ctx, client) })
			switch {
			case !isConnected(client):
				unanswered = 0 // nobody could be asked: the connection is being made anew
			case asked.After(heard):
				unanswered++
			}
			ask.Reset(e.progress) // a question has this long, however late it was put
		case resp, ok := <-responses:
			unanswered, heard = 0, time.Now()
			switch {
			case !ok && ctx.Err() != nil:
				return nil
			case !ok:
				return fmt.Errorf("%w: the client is closed", store.ErrUnavailable)
			}
			batch, err := w.read(resp)
			if err != nil {
				return err
			}
			if resp.Created && after != 0 {
				continue // the watch stands, which only one from now on tells
			}
			if !yield(batch) {
				return nil
			}
		}
	}
}

// hangs is the error of a watch that hangs. On a connection that lives it is the
// stream that does; without one the stream is still to be opened.
func (e *Client) hangs(client *clientv3.Client, stream int64) error {
	if isConnected(client) {
		e.stream.CompareAndSwap(stream, stream+1)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, errHangs)
}

func isConnected(client *clientv3.Client) bool {
	return client.ActiveConnection().GetState() == connectivity.Ready
}

// requestProgress asks etcd how far it is. It must not hold a watch up when the
// question cannot be sent.
func requestProgress(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = client.RequestProgress(ctx) // its answer tells, or that there is none
}

// questions are when etcd was last asked on each stream. It answers one to every
// watch on the stream: if each of a thousand asked, each would be told a
// thousand times.
type questions struct {
	mu   sync.Mutex
	last map[int64]time.Time // by stream
}

// ask asks, unless another watch on the stream did within the time, and says when
// it was asked last.
func (q *questions) ask(stream int64, within time.Duration, ask func()) time.Time {
	q.mu.Lock()
	if last, ok := q.last[stream]; ok && time.Since(last) < within {
		q.mu.Unlock()
		return last
	}
	if q.last == nil {
		q.last = map[int64]time.Time{}
	}
	now := time.Now()
	q.last[stream] = now
	q.mu.Unlock()
	ask()
	return now
}

// watching is what a watch knows of the store it watches.
type watching struct {
	etcd  *Client
	after store.Revision
	store uint64 // etcd's cluster id; 0 before the first answer
}

func (w *watching) read(resp clientv3.WatchResponse) (store.Batch, error) {
	if resp.CompactRevision != 0 {
		return store.Batch{}, fmt.Errorf("%w: revision %d is asked for, %d is the oldest kept", store.ErrCompacted, w.after, resp.CompactRevision)
	}
	if err := resp.Err(); err != nil {
		return store.Batch{}, explain(err)
	}
	if w.store == 0 {
		w.store = resp.Header.ClusterId
	}
	rev := store.Revision(resp.Header.Revision)
	switch {
	case resp.Header.ClusterId != w.store:
		return store.Batch{}, fmt.Errorf("%w: etcd cluster %x is now %x", store.ErrCompacted, w.store, resp.Header.ClusterId)
	case rev < w.after:
		return store.Batch{}, fmt.Errorf("%w: the store is at %d, and was at %d", store.ErrCompacted, rev, w.after)
	}
	batch := store.Batch{Revision: rev}
	for _, ev := range resp.Events {
		batch.Events = append(batch.Events, w.event(ev))
	}
	if n := len(batch.Events); n > 0 {
		// The header may be ahead of events that are still to come.
		batch.Revision = batch.Events[n-1].At
	}
	if !resp.Created || w.after == 0 { // else so is the header of this one
		w.after = batch.Revision
	}
	return batch, nil
}

func (w *watching) event(ev *clientv3.Event) store.Event {
	at := store.Revision(ev.Kv.ModRevision)
	if ev.Type == clientv3.EventTypeDelete {
		key := strings.TrimPrefix(string(ev.Kv.Key), w.etcd.prefix)
		return store.Event{Item: store.Item{Key: key, Modified: at}, Deleted: true, At: at}
	}
	return store.Event{Item: w.etcd.item(ev.Kv), At: at}
}
