package etcd

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What gRPC and etcd's client say, as it was met, in plain words.
func TestRequestErrorInWords(t *testing.T) {
	late := context.DeadlineExceeded
	for want, err := range map[string]error{
		"etcd does not answer: no answer in time": late,
		"etcd does not answer: dial tcp 10.0.0.1:2379: connect: connection refused": fmt.Errorf(
			"%w: %s", late, `connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:2379: connect: connection refused"`),
		"etcd refuses: etcdserver: permission denied": status.Error(codes.PermissionDenied, "etcdserver: permission denied"),
		"etcd does not answer: etcdserver: no leader": status.Error(codes.Unavailable, "etcdserver: no leader"),
		"etcd does not answer: its data is damaged":   errors.New("its data is damaged"),
		"not found: etcdserver: requested lease not found": status.Error(
			codes.NotFound, "etcdserver: requested lease not found"),
	} {
		if got := explain(err).Error(); got != want {
			t.Errorf("%v is said as %q, want %q", err, got, want)
		}
	}
	waiting := fmt.Errorf("%w: %s", late, "context deadline exceeded while waiting for connections to become ready")
	if got, want := explain(waiting).Error(), "etcd does not answer: no answer in time"; got != want {
		t.Errorf("%v is said as %q, want %q", waiting, got, want)
	}
}

// TestWatchesAskTogether: an answer goes to every watch on a stream, so that of a
// thousand one asks.
func TestWatchesAskTogether(t *testing.T) {
	var q questions
	asked := map[int64]int{}
	ask := func(stream int64, within time.Duration) time.Time {
		return q.ask(stream, within, func() { asked[stream]++ })
	}
	first := ask(1, time.Hour)
	if again := ask(1, time.Hour); again != first || asked[1] != 1 {
		t.Errorf("a second watch asked %d times, at %v after %v", asked[1]-1, again, first)
	}
	if ask(2, time.Hour); asked[2] != 1 {
		t.Error("a watch on another stream did not ask")
	}
	if later := ask(1, 0); !later.After(first) || asked[1] != 2 {
		t.Errorf("asked %d times, last at %v: the first question is old", asked[1], later)
	}
}
