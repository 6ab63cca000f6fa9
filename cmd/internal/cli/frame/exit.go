package frame

import (
	"errors"
	"fmt"
)

// Exit statuses of every command.
const (
	Well      = 0
	Failed    = 1 // it was tried, and did not work
	Misused   = 2 // the command line is wrong: nothing was tried
	Unhealthy = 3 // it worked, and found something wrong (status, audit, doctor)
)

// ErrUnhealthy ends a command that found something wrong and has printed it.
var ErrUnhealthy = errors.New("something is wrong")

// misuse is an error of whoever typed the command.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// Misuse says what is wrong with a command line.
func Misuse(err error) error { return misuse{err} }

// Misusef is Misuse of a text.
func Misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// ErrTold is in an error that was printed already.
var ErrTold = errors.New("printed already")

// Told marks an error as printed already.
func Told(err error) error { return fmt.Errorf("%w (%w)", err, ErrTold) }

// isTold reports whether an error was printed already.
func isTold(err error) bool { return errors.Is(err, ErrTold) || errors.Is(err, ErrUnhealthy) }

// statusOf is the exit status of a command that ended with err; began reports
// whether it got as far as doing anything.
func statusOf(err error, began bool) int {
	_, wrong := errors.AsType[misuse](err)
	switch {
	case err == nil:
		return Well
	case errors.Is(err, ErrUnhealthy):
		return Unhealthy
	case wrong, !began:
		return Misused
	}
	return Failed
}
