package join

import (
	"errors"
	"fmt"
	"net/http"

	"gvlan/cluster/store"
)

// What asking at a door can run into, beside store.ErrUnavailable: its store
// does not answer, which says nothing of who asks.
var (
	// ErrUnreachable: nothing answers at the address, or something that is no
	// door of gvlan.
	ErrUnreachable = errors.New("no gvlan answers")
	// ErrWrongToken: the token is not of the cluster at that address, or its
	// secret was rotated.
	ErrWrongToken = errors.New("the token is not valid there: ask for a new one with 'gvlan token show' on a member's host")
	// ErrNotTrusted: who answers does not prove to be a member of this host's
	// cluster.
	ErrNotTrusted = errors.New("who answers is no member of this cluster")
	// ErrCertificate: this host's certificate is none of the cluster's, has
	// expired, or is missing.
	ErrCertificate = errors.New("the certificate is not valid there: join again")
	// ErrRevoked: this host was evicted.
	ErrRevoked = errors.New("the certificate was revoked, this host was evicted: join again")
	// ErrNotMember: only a host with a place in the cluster's own store is
	// given this.
	ErrNotMember = errors.New("this host has no place in the cluster's store")
	// ErrNameTaken: another host has the node name; NameTakenError says which.
	ErrNameTaken = errors.New("the node name is in use")
	// ErrBadRequest: the door cannot make sense of what it was asked.
	ErrBadRequest = errors.New("the request makes no sense")
	// ErrBehind: that member does not have what was rotated elsewhere yet;
	// another one has.
	ErrBehind = errors.New("this member does not have the cluster's newest authority and secret yet")
)

// What a Custodian can run into, beside ErrBehind and what the store says.
var (
	// ErrNoCustody: this host holds no authority.
	ErrNoCustody = errors.New("this host holds no authority of the cluster")
	// ErrNotFounded: the store has no roots or no secret: nobody opened it.
	ErrNotFounded = errors.New("this store is of no cluster that can be joined")
	// ErrChanged: somebody changed the same meanwhile; nothing was written.
	ErrChanged = errors.New("it was changed meanwhile: try again")
	// ErrRotating: the authority is being rotated already.
	ErrRotating = errors.New("the authority is being rotated already")
)

// NameTakenError says who has the node name that a host wants to join under.
// It is an ErrNameTaken.
type NameTakenError struct {
	Node    string
	Host    string // host name of the holder; "" when unknown
	Address string // of the holder; "" when unknown
	// Member: the holder is not connected, but has a place in the cluster's
	// store, and with its name goes the authority.
	Member bool
}

// Error names the holder and the cure.
func (e *NameTakenError) Error() string {
	if e.Member {
		return fmt.Sprintf("node name %s is of a host with a place in the cluster's store: 'gvlan node evict %s' first, or give this one a name of its own with --node-name", e.Node, e.Node)
	}
	return fmt.Sprintf("node name %s is in use by host %q at %s: give this one a name of its own with --node-name", e.Node, e.Host, e.Address)
}

// Is makes it an ErrNameTaken.
func (e *NameTakenError) Is(target error) bool { return target == ErrNameTaken }

// verdicts are how a refusal crosses the wire.
var verdicts = []struct {
	code   string
	status int
	err    error
}{
	{"token", http.StatusUnauthorized, ErrWrongToken},
	{"certificate", http.StatusUnauthorized, ErrCertificate},
	{"revoked", http.StatusForbidden, ErrRevoked},
	{"not-member", http.StatusForbidden, ErrNotMember},
	{"name-taken", http.StatusConflict, ErrNameTaken},
	{"bad-request", http.StatusBadRequest, ErrBadRequest},
	{"behind", http.StatusServiceUnavailable, ErrBehind},
	{"behind", http.StatusServiceUnavailable, ErrNoCustody},
	{"changed", http.StatusConflict, ErrChanged},
	{"unavailable", http.StatusServiceUnavailable, store.ErrUnavailable},
}
