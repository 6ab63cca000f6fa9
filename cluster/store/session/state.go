package session

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gvlan/cluster/store"
)

// state is all that a session knows, under one lock: whether it may write, the
// store it writes to, and whether the cluster gives anything new. Every answer
// of the store is judged here by what was known when it was asked for.
type state struct {
	log    *slog.Logger
	fenced chan struct{} // closed when the epoch is over
	lost   chan struct{} // has one element while the store must be opened anew

	mu       sync.Mutex
	replaced chan struct{} // closed when the store is found to be another one, and made anew
	right    right
	belief   belief
	gate     gateState
}

func newState(id Identity, known Memory, log *slog.Logger) *state {
	return &state{
		log:      log,
		fenced:   make(chan struct{}),
		lost:     make(chan struct{}, 1),
		replaced: make(chan struct{}),
		right:    right{id: id},
		belief:   belief{log: log, known: known, saved: known, cluster: known.Cluster},
	}
}

// trusted is Session.Trusted.
func (s *state) trusted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.right.over != nil:
		return s.right.over
	case s.belief.suspect != nil:
		return s.belief.suspect
	case s.right.held == nil:
		return s.right.notConnected()
	}
	return s.gate.why()
}

// closed says why there is no epoch to write under.
func (s *state) closed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.right.closed()
}

// foreign is ErrForeign while the name is not settled, or nil.
func (s *state) foreign() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.belief.foreign()
}

// view returns what a call must judge its reply by: the epoch it is sent
// under, nil when there is none, and the revision no reply may be below.
func (s *state) view() (*holding, store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.right.held, s.belief.highest
}

// guards are the writes that a store must have that a transaction is sent to.
type guards struct {
	last   store.Revision
	newest Write
}

// guarded is view with what a transaction compares.
func (s *state) guarded() (*holding, store.Revision, guards) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.right.held, s.belief.highest, guards{s.belief.last, s.belief.newest}
}

// judge compares the epoch key as the store holds it (zero: absent) with the
// holding a call was made under: nil while it is that one.
func (s *state) judge(held *holding, found store.Item) error {
	if found.Modified == held.epochRev {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.right.over != nil:
		return s.right.over
	case s.right.held != held:
		return fmt.Errorf("%w: the session was opened anew", store.ErrUnavailable)
	case found.Modified == 0:
		return s.replacedLocked("this node's epoch is missing")
	}
	epoch, err := store.Decode[store.Epoch](found)
	if err != nil || found.Modified < held.epochRev || epoch.Epoch < s.right.epoch {
		return s.replacedLocked(fmt.Sprintf("this node's epoch went from %d back to %d", s.right.epoch, epoch.Epoch))
	}
	if !epoch.Evicted && s.right.overtaken(epoch) {
		s.right.held = nil
		s.log.Error("another host runs a copy of this one's gvlan install, and had this node's name while this host was cut off: taking it back; give the copy a machine-id of its own (empty /etc/machine-id, then systemd-machine-id-setup) or a --node-name, and an empty --data-dir",
			"node", s.right.id.Node, "host", epoch.Host, "boot", epoch.Boot)
		s.reopenLocked()
		return fmt.Errorf("%w: the session is opened anew", store.ErrUnavailable)
	}
	s.right.over, s.right.held = s.right.fencedBy(epoch), nil
	close(s.fenced)
	return s.right.over
}

// judgeLast compares LastKey as the store holds it (zero: absent) with the last
// write before the call that read it.
func (s *state) judgeLast(held *holding, last store.Revision, found store.Item) error {
	if found.Modified >= last {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.right.held != held {
		return fmt.Errorf("%w: the session was opened anew", store.ErrUnavailable)
	}
	return s.replacedLocked(lostWrite("this node's", last, found.Modified))
}

// judgeNewest is judgeLast for the newest write of any node.
func (s *state) judgeNewest(held *holding, newest Write, found store.Item) error {
	if found.Modified >= newest.At {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.right.held != held:
		return fmt.Errorf("%w: the session was opened anew", store.ErrUnavailable)
	case s.belief.newest.At < newest.At:
		return fmt.Errorf("%w: the gate was closed meanwhile", store.ErrUnavailable)
	}
	return s.replacedLocked(lostWrite("node "+newest.Node+"'s", newest.At, found.Modified))
}

// observe takes note of a revision the store answered with. One below floor,
// which was seen before the call, means that the store went back.
func (s *state) observe(held *holding, floor, rev store.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.observeLocked(held, floor, rev)
}

func (s *state) observeLocked(held *holding, floor, rev store.Revision) error {
	switch {
	case s.right.held != held || held == nil:
		return nil
	case rev < floor:
		return s.replacedLocked(fmt.Sprintf("revision %d is below %d, which this node has seen", rev, floor))
	}
	s.belief.highest = max(s.belief.highest, rev)
	if s.belief.suspect == nil {
		s.belief.known = s.nowLocked()
	}
	return nil
}

// watched takes note of a revision that a watch reached, unless the store that
// it watches was replaced since. Follow judges one that goes back.
func (s *state) watched(replaced <-chan struct{}, rev store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced == replaced {
		_ = s.observeLocked(s.right.held, 0, rev)
	}
}

// wrote notes a transaction that changed something.
func (s *state) wrote(held *holding, rev store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.right.held == held {
		s.belief.last = max(s.belief.last, rev)
	}
}

// sawWrites takes note of every node's LastKeys, as a Follow of them begun under
// held reports them.
func (s *state) sawWrites(held *holding, c store.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.right.held != held {
		return
	}
	before, found := s.belief.newest, store.Item{}
	for _, it := range c.Items {
		if it.Key == store.LastKey(before.Node) {
			found = it
		}
		s.belief.saw(it)
	}
	for _, e := range c.Events {
		s.belief.saw(e.Item)
	}
	if c.Reset && before.Node != s.right.id.Node && found.Modified < before.At { // its own it judges otherwise
		_ = s.replacedLocked(lostWrite("node "+before.Node+"'s", before.At, found.Modified))
	}
}

// replacedLocked closes a session whose store is not what it was; Run opens
// it anew.
func (s *state) replacedLocked(why string) error {
	s.right.held = nil
	if s.belief.suspect == nil {
		s.belief.doubt(why)
	}
	s.reopenLocked()
	return s.belief.suspect
}

// reopenLocked has Run open the session anew.
func (s *state) reopenLocked() {
	select {
	case s.lost <- struct{}{}:
	default:
	}
}

// replacement is closed when the store is found to be another one.
func (s *state) replacement() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaced
}

// endWatches ends every watch of the store that is no more.
func (s *state) endWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.replaced)
	s.replaced = make(chan struct{})
}

// nowLocked is the store as it is.
func (s *state) nowLocked() Memory { return s.belief.now(s.gate.recovery.Count) }

// seen is Session.Seen.
func (s *state) seen() store.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.belief.known.Revision == neverReached {
		return s.belief.highest
	}
	return max(s.belief.highest, s.belief.known.Revision)
}

// asItIs is the store as it is, under the holding.
func (s *state) asItIs() (Memory, *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nowLocked(), s.right.held
}

// toSave is the past, and what was last saved of it.
func (s *state) toSave() (now, saved Memory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.belief.known, s.belief.saved
}

func (s *state) didSave(now Memory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.belief.saved = now
}

// accept takes a past that was saved as the truth, unless the store was replaced
// since.
func (s *state) accept(now Memory, held *holding) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.right.held == nil || s.right.held != held {
		return fmt.Errorf("%w: it was replaced meanwhile", store.ErrUnavailable)
	}
	s.belief.suspect, s.belief.known, s.belief.saved = nil, now, now
	return nil
}

// settle is Session.Settle.
func (s *state) settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.belief.foreign() == nil:
		return fmt.Errorf("settle node name %s: it is this install's already", s.right.id.Node)
	case s.right.held == nil:
		return fmt.Errorf("settle node name %s: %w: the session is not open", s.right.id.Node, store.ErrUnavailable)
	}
	s.right.settled, s.belief.suspect, s.right.held = true, nil, nil
	s.reopenLocked()
	return nil
}

// awaits reports whether a name that is held may still become free by itself.
// Until then Trusted says who holds it.
func (s *state) awaits(held *store.HeldError) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.right.holder == nil {
		s.right.holder, s.right.heldSince = held, time.Now()
		s.log.Warn("this node's name is in use: waiting for its holder to end", "patience", heldPatience, "err", held)
	}
	return !held.Younger && time.Since(s.right.heldSince) < heldPatience
}

// awaitAnew forgets how long the name's holder was waited for.
func (s *state) awaitAnew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.right.holder = nil
}

// tried keeps what the last try to open the session met; nil: it is open.
func (s *state) tried(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.right.unopened = err
}

// doubt compares what the store holds with the past, before anything is
// written: an opening whose answer is lost is seen by the next as if the past
// had never been contradicted.
func (s *state) doubt(view openingView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why, elder := s.belief.known.contradicts(view), s.right.elder(view.epoch)
	switch {
	case s.belief.suspect != nil:
	case elder != "":
		s.belief.doubtName(elder, view.epoch.Boot) // what else is wrong is seen when it is settled
	case why != "":
		s.belief.doubt(why)
	}
}

// checkHolder refuses a name that is not free.
func (s *state) checkHolder(view openingView) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.right.checkHolder(view.liveIt, view.epoch)
}

// next is the epoch to take.
func (s *state) next(before store.Epoch) store.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.right.next(before)
}

// adopt makes the opened store the session's.
func (s *state) adopt(view openingView, epoch store.Epoch, held *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, b := &s.right, &s.belief
	r.held, r.epoch, r.returning, r.holder = held, epoch.Epoch, epoch.Returning, nil
	b.cluster, b.meta = view.meta.UUID, view.meta
	b.highest, b.last, b.newest = held.epochRev, held.epochRev, Write{r.id.Node, held.epochRev}
	reasserted := s.gate.reasserted
	s.gate = view.gate
	s.gate.seen, s.gate.reasserted = view.rev, reasserted
	switch {
	case b.suspect == nil:
		b.known = s.nowLocked()
	case b.cluster == b.known.Cluster && b.lostPast():
		b.known.Revision = neverReached
	}
	s.log.Info("store opened", "node", r.id.Node, "epoch", r.epoch, "cluster", b.cluster,
		"revision", b.highest, "evicted", r.returning)
}

// gateChanged applies what a Follow of the gate reports.
func (s *state) gateChanged(c store.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.gate.at
	if err := s.gate.follow(c); err != nil {
		s.log.Error("record of the cluster's recovery unreadable: left out", "err", err)
	}
	s.gateMovedLocked(was)
}

// gateClosed notes a gate that a transaction met before its watch did. The
// answer may also come after the watch told that it was opened.
func (s *state) gateClosed(it store.Item, rev store.Revision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev < s.gate.seen {
		return fmt.Errorf("%w: the cluster's gate moved meanwhile", store.ErrUnavailable)
	}
	was := s.gate.at
	s.gate.seen = rev
	if err := s.gate.apply(it, false); err != nil {
		return err
	}
	s.gateMovedLocked(was)
	return s.gate.why()
}

// gateOpened notes that this node opened the gate, ahead of the watch.
func (s *state) gateOpened(done store.Recovery, rev store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.gate.at
	s.gate = gateState{recovery: done, caution: true, seen: rev, reasserted: s.gate.reasserted}
	s.gateMovedLocked(was)
}

// gateMovedLocked logs that the gate was closed or opened.
func (s *state) gateMovedLocked(was store.Revision) {
	now := s.gate.at
	switch {
	case now != 0 && now != was:
		s.belief.newest = Write{} // what is lost is known to be
		s.log.Error("the store lost its past: nothing new is given in the whole cluster until 'gvlan recover' is run on one host",
			"by", s.gate.gate.Node, "why", s.gate.gate.Why)
	case now == 0 && was != 0:
		s.log.Info("the cluster's recovery is over", "by", s.gate.recovery.Node)
	}
	if s.belief.suspect == nil && s.gate.at == 0 {
		s.belief.known.Recovery = max(s.belief.known.Recovery, s.gate.recovery.Count)
	}
}

// closing is what an opening adds to its transaction when it found a loss: the
// gate, unless the cluster recovered from it while this node was away. One that
// is closed already is closed anew: it may be of the copy that was restored, and
// so may be what says that nodes have written again what they hold.
func (s *state) closing(view openingView) (conds []store.Cond, ops []store.Op, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.belief.why == unsettled && view.gate.at != 0 // no loss but the one it was closed for
	if !s.belief.lostPast() || known || s.belief.covered(view.meta, view.gate.recovery) {
		return nil, nil, nil
	}
	gate, err := newGate(s.right.id.Node, s.belief.why)
	if err != nil {
		return nil, nil, err
	}
	return []store.Cond{store.Unchanged(store.GateKey(), view.gate.at)}, []store.Op{store.Put(store.GateKey(), store.Encode(gate))}, nil
}

// recovered is Session.Recovered.
func (s *state) recovered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.belief.lostPast() || s.right.held == nil || s.gate.at != 0 {
		return false
	}
	took := s.gate.reasserted != "" && s.gate.reasserted == s.gate.recovery.Round // part in it
	return took || s.belief.covered(s.belief.meta, s.gate.recovery)
}

// recovery is the gate, and how many recoveries this node knows of: those it
// took part in, and those the gate tells of.
func (s *state) recovery() (gate gateState, known, told int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gate, s.belief.known.Recovery, s.gate.recovery.Count
}

func (s *state) reasserted(round string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate.reasserted = round
}
