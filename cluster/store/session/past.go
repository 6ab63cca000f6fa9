package session

import (
	"errors"
	"fmt"
	"log/slog"
	"math"

	"gvlan/cluster/store"
)

// Past is what a host remembers of its cluster across restarts.
type Past interface {
	// LoadPast returns what was saved; zero when nothing was yet.
	LoadPast() (Memory, error)
	// SavePast keeps it. It is called every few seconds at most.
	SavePast(Memory) error
}

// neverReached is saved as the revision of a cluster that lost its past: no
// store reaches it, so the suspicion outlasts a restart of the agent, also
// when the store has meanwhile grown beyond the revision it fell from.
const neverReached store.Revision = math.MaxInt64

// Memory is a store as a node knew it.
type Memory struct {
	Cluster  string         // its uuid
	Revision store.Revision // the highest seen of it
	Last     store.Revision // of the node's last write to it; 0: not known
	Newest   Write          // of any node's that the node saw
	Recovery int64          // the Count of the last Recovery the node knew of
}

// Write is a node's write to the store, by its revision.
type Write struct {
	Node string
	At   store.Revision // 0: none is known
}

// unsettled is why a store is suspect that a restart found so.
const unsettled = "it lost its past before this agent's start, and no recovery has ended that"

// openingView is what the store holds when a session opens, all of one
// revision.
type openingView struct {
	rev     store.Revision
	meta    store.Meta
	metaRev store.Revision
	epoch   store.Epoch
	epochIt store.Item // zero: absent
	liveIt  store.Item // zero: absent
	lastIt  store.Item // zero: absent
	// newestIt is the LastKey of whose write was the newest this node knew of.
	newestIt store.Item
	gate     gateState
}

// contradicts says why an opened store cannot be the one remembered; "" when
// it can.
func (m Memory) contradicts(view openingView) string {
	switch {
	case m.Cluster == "":
		return ""
	case view.meta.UUID != m.Cluster:
		return fmt.Sprintf("it is cluster %s, this node knows cluster %s", view.meta.UUID, m.Cluster)
	case m.Revision == neverReached:
		return unsettled
	case view.epochIt.Created == 0:
		return "this node's epoch is missing"
	case view.rev < m.Revision:
		return fmt.Sprintf("revision %d is below %d, which this node has seen", view.rev, m.Revision)
	case view.lastIt.Modified < m.Last:
		return lostWrite("this node's", m.Last, view.lastIt.Modified)
	case view.newestIt.Modified < m.Newest.At:
		return lostWrite("node "+m.Newest.Node+"'s", m.Newest.At, view.newestIt.Modified)
	}
	return ""
}

// lostWrite says why a store is not the one that took a write.
func lostWrite(whose string, last, found store.Revision) string {
	return fmt.Sprintf("%s last write, of revision %d, is gone: the store has that of %d", whose, last, found)
}

// belief is the store as this node knows it, and whether it may be believed to
// be still that one. It is part of a state, whose lock guards it.
type belief struct {
	log     *slog.Logger
	known   Memory // the past: the store as this node last trusted it
	saved   Memory // what SavePast was last given
	cluster string
	meta    store.Meta     // of the store as it is now
	highest store.Revision // seen of the store as it is now
	last    store.Revision // of this node's last write to it
	newest  Write          // that this node saw of any node's since the gate was last closed
	suspect error          // ErrSuspect or ErrForeign and why; nil while the store is trusted
	why     string         // of ErrSuspect
}

// now is the store as it is; recoveries are those that the gate tells of.
func (b *belief) now(recoveries int64) Memory {
	return Memory{b.cluster, b.highest, b.last, b.newest, max(b.known.Recovery, recoveries)}
}

// doubt stops trusting the store.
func (b *belief) doubt(why string) {
	b.suspect, b.why = fmt.Errorf("%w: %s", store.ErrSuspect, why), why
	b.log.Error("the store is not the one this node knows: no new address is given in the cluster until 'gvlan recover' is run on one host", "why", why)
}

// doubtName leaves alone what the store keeps of the elder whose name this is.
func (b *belief) doubtName(elder, boot string) {
	b.suspect = fmt.Errorf("%w (install %s, boot %s): its leases and endpoints are left alone until this host is known to be that node; run `gvlan recover` here if it is, else give it a --node-name of its own",
		store.ErrForeign, elder, boot)
	b.log.Error("this node's name was another install's until now: nothing is written under it", "err", b.suspect)
}

// lostPast reports whether the store is suspect for what it lost, and not for
// whose the name is.
func (b *belief) lostPast() bool { return errors.Is(b.suspect, store.ErrSuspect) }

// foreign is ErrForeign while the name is not settled, or nil.
func (b *belief) foreign() error {
	if errors.Is(b.suspect, store.ErrForeign) {
		return b.suspect
	}
	return nil
}

// covered reports whether the cluster recovered since this node last trusted its
// store: then what it misses is known to be lost.
func (b *belief) covered(meta store.Meta, done store.Recovery) bool {
	same := meta.UUID == b.known.Cluster || meta.After == b.known.Cluster
	return same && done.Count > b.known.Recovery
}

// saw takes note of a node's LastKey.
func (b *belief) saw(it store.Item) {
	if it.Modified > b.newest.At {
		b.newest = Write{store.NameOf(it.Key), it.Modified}
	}
}
