package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// What a call can fail with; compare with errors.Is. Anything else is the
// engine's own refusal, in its own words.
var (
	// ErrUnavailable: the engine does not answer, answers too late, or is starting
	// or stopping. It says nothing about what exists.
	ErrUnavailable = errors.New("docker engine is not available")
	// ErrNotFound: the engine has no such network or container.
	ErrNotFound = errors.New("not known to the docker engine")
	// ErrNameTaken: the engine already has a network of that name.
	ErrNameTaken = errors.New("network name is taken")
	// ErrInUse: the network has endpoints, or is one the engine never removes.
	ErrInUse = errors.New("network is in use")
	// ErrUnsupported: the engine is too old for what was asked.
	ErrUnsupported = errors.New("not supported by this docker engine")
	// ErrNotManager: the question is one only a swarm manager answers.
	ErrNotManager = errors.New("engine is not a swarm manager")
)

// classify adds the sentinel that fits err to it. Errors that already carry one,
// and those that fit none, come back as they are.
func classify(err error) error {
	switch {
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errdefs.IsUnavailable(err), client.IsErrConnectionFailed(err), brokeOff(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// brokeOff reports whether an exchange with the engine ended before its answer did.
func brokeOff(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
