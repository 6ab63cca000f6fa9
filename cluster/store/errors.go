package store

import (
	"errors"
	"fmt"
)

// What reading and writing can run into.
var (
	// ErrNotFound: the key or lease does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the store did not answer in time, or is not connected
	// yet. A Commit that ends so may or may not have happened.
	ErrUnavailable = errors.New("etcd does not answer")
	// ErrCompacted: the revision a Watch asked for is no longer kept.
	ErrCompacted = errors.New("revision is compacted")
)

// What a Session can run into.
var (
	// ErrFenced: this node's epoch was taken by a newer agent or an
	// eviction; nothing was written.
	ErrFenced = errors.New("this node's epoch is over")
	// ErrSuspect: the store is not the one this node knows (another cluster
	// uuid), or has lost revisions (restored from an older copy), or lost
	// this node's epoch: no new address may be given.
	ErrSuspect = errors.New("the store lost its past")
)

// HeldError says that another install of gvlan runs under this node's name.
type HeldError struct {
	Node    string // the name both want
	Install string // install id of the holder
	Host    string // host name of the holder
	Address string // address of the holder, as it advertised it
}

// Error names the holder and the cure.
func (e *HeldError) Error() string {
	return fmt.Sprintf("node name %s is held by another gvlan install (%s) running on host %q at %s: stop that one, or give this one a name of its own with --node-name",
		e.Node, e.Install, e.Host, e.Address)
}
