package update

import (
	"context"
	"maps"
	"slices"
)

const (
	Batch = updateBatch
	Rest  = updateRest
)

// Pushed is the value of a record that the server is known to have.
func Pushed() []byte { return pushed }

// Pushing is the value of one that it may have.
func Pushing() []byte { return pushing }

// Push brings the server up to date, once.
func (u *Updater) Push(ctx context.Context) error { return u.push(ctx) }

// Wanted returns the records the server should have, in order.
func (u *Updater) Wanted() []string { return slices.Sorted(maps.Keys(u.wanted())) }
