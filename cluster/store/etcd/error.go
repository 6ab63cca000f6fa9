package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gvlan/cluster/store"
)

// explain turns an error of etcd's client into one of this package, by its
// code. What etcd refuses for good is neither.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case unavailable(err):
		return &RequestError{kind: store.ErrUnavailable, request: err}
	}
	switch code(err) {
	case codes.NotFound:
		return &RequestError{kind: store.ErrNotFound, request: err}
	case codes.OutOfRange:
		return &RequestError{kind: store.ErrCompacted, request: err}
	}
	return &RequestError{kind: errRefused, request: err}
}

// errRefused is what etcd does not do, however often it is asked.
var errRefused = errors.New("etcd refuses")

// RequestError is why etcd did not do what it was asked, in words for people: gRPC wraps each
// layer of itself around what they need to know.
type RequestError struct{ kind, request error }

// Error gives the kind and the words.
func (e *RequestError) Error() string { return e.kind.Error() + ": " + e.Words() }

// Unwrap gives both.
func (e *RequestError) Unwrap() []error { return []error{e.kind, e.request} }

// Words is what is wrong, without gRPC's own layers.
func (e *RequestError) Words() string {
	text := e.request.Error()
	for {
		_, inner, found := strings.Cut(text, "desc = ")
		if !found {
			break
		}
		if said, err := strconv.Unquote(inner); err == nil {
			inner = said
		}
		text = inner
	}
	// What a request was waiting for in vain stands behind a colon, if anywhere.
	for {
		rest, late := strings.CutPrefix(text, context.DeadlineExceeded.Error())
		if !late {
			break
		}
		_, cause, told := strings.Cut(rest, ": ")
		if !told {
			return "no answer in time"
		}
		text = cause
	}
	for _, layer := range []string{"transport: ", "Error while dialing: "} {
		text = strings.TrimPrefix(text, layer)
	}
	return text
}

// unavailable reports whether waiting may cure an error.
func unavailable(err error) bool {
	if ofLearner(err) { // it will be a voter, or another is asked
		return true
	}
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Internal, codes.Unknown:
		return true
	case codes.ResourceExhausted:
		// Its quota may be used up too: who looks after it makes room.
		return isAny(err, rpctypes.ErrTooManyRequests, rpctypes.ErrNoSpace)
	}
	return false
}

// code is the gRPC code of an error, wherever it was wrapped.
func code(err error) codes.Code {
	var etcd interface{ Code() codes.Code }
	switch {
	case errors.As(err, &etcd):
		return etcd.Code()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return codes.DeadlineExceeded
	}
	return status.Code(err)
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// cause is the last error gRPC gave for a request. etcd's client replaces
// the message of one that ran out of time, which says what is wrong with the
// connection (refused, a certificate, ...), by "context deadline exceeded".
type cause struct {
	mu   sync.Mutex
	last error
}

type causeKey struct{}

// withCause makes noteCause remember the errors of requests under ctx.
func withCause(ctx context.Context) (context.Context, *cause) {
	c := &cause{}
	return context.WithValue(ctx, causeKey{}, c), c
}

// noteCause is a gRPC interceptor.
func noteCause(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	if c, ok := ctx.Value(causeKey{}).(*cause); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.last = err
	}
	return err
}

// of returns the error of a request with what gRPC said of it.
func (c *cause) of(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || !isAny(err, context.DeadlineExceeded, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %s", err, status.Convert(c.last).Message())
}
