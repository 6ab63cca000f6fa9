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
	// ErrOutdated: the transaction was decided in an epoch before the session's,
	// so it is refused however often it is sent. It comes with ErrUnavailable: of
	// an earlier try nobody knows.
	ErrOutdated = errors.New("it was decided before the session was opened anew")
	// ErrNewer: a record is of a schema, or says something, that this gvlan does not
	// know. It is left as it is: it counts as somebody's, and nobody is given what
	// it is about.
	ErrNewer = errors.New("a newer gvlan wrote it: upgrade this host")
	// ErrCompacted: the revision a Watch asked for is no longer kept.
	ErrCompacted = errors.New("revision is compacted")
)

// What a Session can run into.
var (
	// ErrFenced: this node's epoch was taken by a newer agent or an
	// eviction; nothing was written.
	ErrFenced = errors.New("this node's epoch is over")
	// ErrEvicted is the ErrFenced of an eviction: others may have its addresses.
	ErrEvicted = fmt.Errorf("%w: the node was evicted", ErrFenced)
	// ErrSuspect: the store is not the one this node knows (another cluster
	// uuid), or has lost revisions (restored from an older copy), or lost
	// this node's epoch: no new address may be given.
	ErrSuspect = errors.New("the store lost its past")
)

// ErrForeign: this node's name belonged to another install of gvlan until this
// one took it, and what the store keeps under the name may be of a living host:
// nothing is written under it until session.Session.Settle.
var ErrForeign = errors.New("this node's name was another install's")

// IsUnusable reports whether an error says that this host has no store to go by: it
// does not answer, has lost its past, or may know another install under this name.
func IsUnusable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrSuspect) || errors.Is(err, ErrForeign)
}

// HeldError says that an agent is connected under this node's name that this
// one must not take it from.
type HeldError struct {
	Node    string // the name both want
	Install string // install id of the holder
	Host    string // host name of the holder
	Address string // address of the holder, as it advertised it
	// Clone: the holder has this very install id, on another boot. Unless it
	// is this host before its reboot, whose /live ends in a moment, one of the two
	// is a copy of the other.
	Clone bool
	// Younger: both were seen to run, and this one came later. It is not waited
	// for.
	Younger bool
}

// Error names the holder and the cure.
func (e *HeldError) Error() string {
	where := fmt.Sprintf("host %q", e.Host)
	if e.Address != "" {
		where += " at " + e.Address
	}
	if e.Clone {
		return fmt.Sprintf("node name %s is held by this very gvlan install (%s) running on %s: one of the two hosts is a copy of the other; give the copy a machine-id of its own (empty /etc/machine-id, then systemd-machine-id-setup) or a --node-name, and an empty --data-dir",
			e.Node, e.Install, where)
	}
	return fmt.Sprintf("node name %s is held by another gvlan install (%s) running on %s: stop that one, or give this one a name of its own with --node-name",
		e.Node, e.Install, where)
}
