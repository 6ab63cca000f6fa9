package etcd

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
