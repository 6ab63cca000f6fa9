package session

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// Identity says who opens a session.
type Identity struct {
	Node    string // name of the node, the same for as long as the host lives
	Install string // random uuid of the data directory
	Boot    string // /proc/sys/kernel/random/boot_id
	Host    string // host name, for people
	Address string // that other nodes reach the host by
	Version string // of gvlan
	Gossip  string // host:port of the membership listener, "" without one
	// Returned is the last epoch in which this install had taken its addresses
	// again after an eviction: see Session.Returned. 0: none.
	Returned int64
}

// putLive writes /live under an etcd lease.
func (id Identity) putLive(lease store.LeaseID) store.Op {
	put := store.Put(store.LiveKey(id.Node), store.Encode(store.Live{
		Install: id.Install,
		Host:    id.Host,
		Address: id.Address,
		Gossip:  id.Gossip,
		Since:   time.Now().Unix(),
	}))
	put.Lease = lease
	return put
}

// putLast is what LastKey is put with.
func (id Identity) putLast() store.Op { return store.Put(store.LastKey(id.Node), []byte("{}")) }

// liveTTL is how long /live outlasts an agent that died, in seconds.
const liveTTL = 15

// Who may have a node's name. A name has one install at a time, and what the
// store keeps under it is that install's: its containers may run on however
// long its agent is away.
//   - The same install on the same boot takes over at once: its agent died or is
//     about to.
//   - The same install on another boot waits for /live to end: this host has
//     booted since, or one of two is a copy of the other.
//   - Where both boots are seen to run, the elder has the name: it takes it back
//     from one that came while it was cut off, and that one ends at once, and
//     again whenever it asks.
//   - Another install waits likewise, and then has the name without its past: it
//     writes nothing until Settle, and the elder takes the name back at once.

// heldPatience is how long an opening waits for /live to end, from when the
// store last failed to answer. Its lease ends liveTTL after its agent, and so
// long after each start of an etcd that renews what it loads; the rest is for
// etcd's own clocks.
const heldPatience = (liveTTL + 10) * time.Second

// right is this node's right to write: its epoch, and whose the name is. It is
// part of a state, whose lock guards it.
type right struct {
	id    Identity
	held  *holding // nil while not open
	epoch int64
	// returning: an eviction took addresses, and they were not taken again yet.
	returning bool
	settled   bool             // by Settle: the name is this install's, whose it ever was
	holder    *store.HeldError // of the name, while it is waited for
	heldSince time.Time
	unopened  error // what the last try to open met
	over      error // ErrFenced and by whom
}

// holding is one life of the epoch key under this session.
type holding struct {
	epoch    int64          // its number
	epochRev store.Revision // its modified revision, compared by every Commit
}

// checkHolder refuses a name that another install, or another boot of this
// one, is connected under.
func (r *right) checkHolder(liveIt store.Item, before store.Epoch) error {
	var live store.Live
	var err error
	if liveIt.Created != 0 {
		if live, err = store.Decode[store.Live](liveIt); err != nil {
			return err
		}
	}
	same := live.Install == r.id.Install
	switch {
	case r.isClone(before):
		return &store.HeldError{Node: r.id.Node, Install: before.Install, Host: cmp.Or(live.Host, before.Host), Address: live.Address, Clone: true, Younger: true}
	case liveIt.Created == 0, r.overtaken(before), same && before.Boot == r.id.Boot, before.Elder == r.id.Install:
		return nil
	}
	return &store.HeldError{Node: r.id.Node, Install: live.Install, Host: live.Host, Address: live.Address, Clone: same}
}

// overtaken reports whether this boot had the epoch before another one of the
// same install took it. Both run, then, and this one is the elder.
func (r *right) overtaken(by store.Epoch) bool {
	return by.Install == r.id.Install && by.Boot != r.id.Boot && by.Former == r.id.Boot
}

// isClone reports whether the epoch was taken back from this very boot.
func (r *right) isClone(by store.Epoch) bool {
	return by.Install == r.id.Install && by.Boot != r.id.Boot && by.Clone == r.id.Boot
}

// elder is the install that the name is taken from, or "" when that is this one
// or nobody's.
func (r *right) elder(before store.Epoch) string {
	switch {
	case r.settled:
		return ""
	case before.Elder == r.id.Install:
		return ""
	case before.Elder != "":
		return before.Elder
	case before.Install == r.id.Install:
		return ""
	}
	return before.Install
}

// next is the epoch to take.
func (r *right) next(before store.Epoch) store.Epoch {
	former, clone := "", ""
	switch {
	case before.Install != r.id.Install:
	case before.Boot == r.id.Boot:
		former, clone = before.Former, before.Clone
	case r.overtaken(before):
		clone = before.Boot
	default:
		former, clone = before.Boot, before.Clone
	}
	return store.Epoch{
		Epoch:     max(before.Epoch, r.epoch) + 1,
		Install:   r.id.Install,
		Boot:      r.id.Boot,
		Host:      r.id.Host,
		Former:    former,
		Clone:     clone,
		Returning: before.Evicted || before.Returning && before.Epoch > r.id.Returned,
		Elder:     r.elder(before),
		Unknown:   before.Unknown,
	}
}

// fencedBy says why the right is over, for good.
func (r *right) fencedBy(by store.Epoch) error {
	if by.Evicted {
		return store.ErrEvicted
	}
	if r.isClone(by) {
		return fmt.Errorf("%w: %w", store.ErrFenced, &store.HeldError{Node: r.id.Node, Install: by.Install, Host: by.Host, Clone: true, Younger: true})
	}
	return fmt.Errorf("%w: epoch %d was taken by install %s, boot %s%s", store.ErrFenced, by.Epoch, by.Install, by.Boot, r.rivalCure(by))
}

// rivalCure is what to do about another host that took the name, or "" where
// it was this one's next agent.
func (r *right) rivalCure(by store.Epoch) string {
	if by.Install == r.id.Install && by.Boot == r.id.Boot {
		return ""
	}
	return ", on another host: give one of the two a name of its own with --node-name"
}

// closed says why there is no epoch to write under.
func (r *right) closed() error {
	if r.over != nil {
		return r.over
	}
	return fmt.Errorf("%w: the session is not open", store.ErrUnavailable)
}

// notConnected says why the session is not open, as far as its last try told.
func (r *right) notConnected() error {
	var said interface{ Words() string } // *etcd.RequestError
	switch {
	case r.holder != nil:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, r.holder)
	case errors.As(r.unopened, &said):
		return fmt.Errorf("%w: not connected yet: %s", store.ErrUnavailable, said.Words())
	case r.unopened != nil:
		return fmt.Errorf("%w: not connected yet: %w", store.ErrUnavailable, r.unopened)
	}
	return fmt.Errorf("%w: not connected yet", store.ErrUnavailable)
}
