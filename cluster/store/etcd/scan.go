package etcd

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"gvlan/cluster/store"
)

// pageSize is how many keys one request asks for, so that no answer grows
// without bound.
const pageSize = 8192

// scan reads a span. What the first page leaves comes in one stream where etcd
// has them (since 3.7), because each page more makes it count all keys that are
// left: of a million keys that is a second against fourteen.
func scan(ctx context.Context, e *Client, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	s := &scanning{etcd: e, from: e.prefix + span.From, to: e.prefix + span.To, more: true, parts: parts, page: page}
	next := s.ask
	for s.more {
		err := next(ctx)
		switch {
		case s.ended != nil:
			return 0, s.ended
		case code(err) == codes.Unimplemented && !s.pages:
			s.pages = true
		case err != nil:
			return 0, err
		}
		next = s.ask
		if !s.pages {
			next = s.stream
		}
	}
	return store.Revision(s.rev), nil
}

// scanning is a Scan at work.
type scanning struct {
	etcd  *Client
	parts store.Parts
	page  func([]store.Item) error

	from, to string // what is left
	more     bool   // there is something left
	rev      int64  // of the first page, at which the others are read; 0 before it
	store    uint64 // etcd's cluster id
	pages    bool   // etcd has no streams
	ended    error  // what no other try cures: what page says, or that the store is another one
}

// options are those of a request for what is left.
func (s *scanning) options(more ...clientv3.OpOption) []clientv3.OpOption {
	options := append(more, clientv3.WithRange(s.to), clientv3.WithRev(s.rev))
	if s.parts == store.KeysOnly {
		options = append(options, clientv3.WithKeysOnly())
	}
	return options
}

// ask reads one page.
func (s *scanning) ask(ctx context.Context) error {
	var resp *clientv3.GetResponse
	err := s.etcd.read(ctx, func(ctx context.Context, client *clientv3.Client) (err error) {
		resp, err = client.Get(ctx, s.from, s.options(clientv3.WithLimit(pageSize))...)
		return err
	})
	if err != nil {
		return err
	}
	if !s.same(resp.Header.ClusterId) {
		return s.ended
	}
	s.rev = cmp.Or(s.rev, resp.Header.Revision)
	s.take(resp.Kvs)
	s.more = resp.More
	return nil
}

// stream reads what is left, or a part of it: another member is asked for the
// rest when one goes away.
func (s *scanning) stream(ctx context.Context) error {
	return s.etcd.repeat(ctx, func(ctx context.Context) error {
		from := s.from
		err := s.receive(ctx)
		if unavailable(err) && s.from != from {
			return nil
		}
		return err
	})
}

// receive reads one stream. Each part of it has the limit of a request.
func (s *scanning) receive(ctx context.Context) error {
	limit := s.etcd.limit
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	defer silence.Stop()
	client, err := s.etcd.connected(inner)
	if err != nil {
		return err
	}
	parts, err := client.GetStream(inner, s.from, s.options()...)
	if err != nil {
		return err
	}
	defer func() {
		cancel(nil)
		for range parts { // its sender ends too
		}
	}()
	for part := range parts {
		if err := part.Err(); err != nil {
			if ctx.Err() == nil && context.Cause(inner) != nil {
				err = context.Cause(inner)
			}
			return err
		}
		if !silence.Stop() {
			return context.DeadlineExceeded
		}
		if s.take(part.Kvs); s.ended != nil {
			return nil
		}
		if end := part.Header; end != nil { // only the last part has one
			s.more = !s.same(end.ClusterId)
			return nil
		}
		silence.Reset(limit)
	}
	return io.ErrUnexpectedEOF
}

// same reports whether a page is of the store that the first one was of.
func (s *scanning) same(cluster uint64) bool {
	s.store = cmp.Or(s.store, cluster)
	if s.store != cluster {
		s.ended = fmt.Errorf("%w: etcd cluster %x is now %x", store.ErrCompacted, s.store, cluster)
	}
	return s.ended == nil
}

// take hands over what came.
func (s *scanning) take(kvs []*mvccpb.KeyValue) {
	if len(kvs) == 0 {
		return
	}
	items := make([]store.Item, len(kvs))
	for i, kv := range kvs {
		items[i] = s.etcd.item(kv)
	}
	s.from = string(kvs[len(kvs)-1].Key) + "\x00"
	s.ended = s.page(items)
}
