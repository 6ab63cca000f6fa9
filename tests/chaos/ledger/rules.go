package ledger

import (
	"fmt"
	"strings"
	"time"

	"gvlan/cluster/store"
)

// DiedBefore reports whether the endpoint's life had certainly begun to end
// before a moment: its container was stopped, or its host lost. Known is false
// for endpoints that no client made.
type DiedBefore func(endpoint string, at time.Duration) (died, known bool)

// revision is one transaction of etcd's: what stood before it, and what it
// wrote; nil for a key that it deleted.
type revision struct {
	at     int64
	seen   time.Duration // when it was read: later than it happened
	before map[string]store.Item
	after  map[string]*store.Item
}

// rules judge every revision. Who wrote one is told by /last/<node>, which every
// transaction of a session puts.
type rules struct {
	now    func() time.Duration
	died   DiedBefore
	found  []string
	nonces map[string]bool  // of every lease that was ever given
	lost   map[string]int64 // node -> epoch of which the store lost writes: it may write no more in it

	byHand map[string]bool   // leases that are deleted by hand
	losing map[string]string // node whose last write is deleted by hand -> as in LoseLast
	waits  string            // node whose write is lost: nobody gives before the gate is closed; "" for none
}

func newRules(now func() time.Duration, died DiedBefore) *rules {
	return &rules{now: now, died: died, nonces: map[string]bool{}, lost: map[string]int64{}, byHand: map[string]bool{}, losing: map[string]string{}}
}

func (r *rules) tell(v revision, format string, args ...any) {
	r.found = append(r.found, fmt.Sprintf("revision %d (read at %s): ", v.at, v.seen)+fmt.Sprintf(format, args...))
}

func (r *rules) judge(v revision) {
	writer := v.writer()
	r.judgeWriter(v, writer)
	r.noteHand(v)
	for key, it := range v.after {
		if _, _, err := store.LeaseOf(key); err == nil {
			r.judgeLease(v, writer, key, it)
		}
		if strings.HasPrefix(key, "/endpoints/") {
			r.judgeEndpoint(v, key, it)
		}
	}
	if writer != "" {
		r.waits = "" // whoever wrote has the newest write now
	}
}

// writer is the node whose session wrote a revision; "" for none.
func (v revision) writer() string {
	for key, it := range v.after {
		if node, ok := strings.CutPrefix(key, "/last/"); ok && it != nil {
			return node
		}
	}
	return ""
}

// epoch is a node's as it stands before the revision.
func (v revision) epoch(node string) store.Epoch {
	e, _ := store.Decode[store.Epoch](v.before[store.EpochKey(node)])
	return e
}

// lease is a record as it was before, and reports whether there was one.
func (v revision) lease(key string) (store.Lease, bool) {
	it, ok := v.before[key]
	if !ok {
		return store.Lease{}, false
	}
	rec, err := store.Decode[store.Lease](it)
	return rec, err == nil
}

// judgeWriter: a node whose writes a restored backup lost has to begin anew
// before it writes again.
func (r *rules) judgeWriter(v revision, writer string) {
	lost, ok := r.lost[writer]
	if !ok {
		return
	}
	now := v.before[store.EpochKey(writer)]
	if it := v.after[store.EpochKey(writer)]; it != nil {
		now = *it // it begins anew with this very revision
	}
	if e, _ := store.Decode[store.Epoch](now); e.Epoch <= lost {
		r.tell(v, "node %s goes on writing in epoch %d, of which the store lost writes", writer, e.Epoch)
	}
	delete(r.lost, writer)
}

// noteHand notes what was lost by hand.
func (r *rules) noteHand(v revision) {
	for node, by := range r.losing {
		if it, gone := v.after[store.LastKey(node)]; !gone || it != nil {
			continue
		}
		delete(r.losing, node)
		if by == "" {
			if v.isNewest(node) {
				r.waits = node
			}
		} else {
			r.lost[node] = v.epoch(node).Epoch
		}
	}
	if v.after[store.GateKey()] != nil {
		r.waits = ""
	}
}

// isNewest reports whether no node wrote after that one: only the newest write
// of all is compared.
func (v revision) isNewest(node string) bool {
	own := v.before[store.LastKey(node)].Modified
	for key, it := range v.before {
		if strings.HasPrefix(key, "/last/") && it.Modified > own {
			return false
		}
	}
	return true
}

// judgeLease: an address is taken where it was free, and changed by who has it.
func (r *rules) judgeLease(v revision, writer, key string, it *store.Item) {
	was, had := v.lease(key)
	var is store.Lease
	if it != nil {
		var err error
		if is, err = store.Decode[store.Lease](*it); err != nil {
			r.tell(v, "record of %s cannot be read: %v", key, err)
			return
		}
	}
	switch {
	case it == nil && had:
		r.judgeEnd(v, writer, key, was)
	case it != nil && !had:
		r.judgeGiven(v, writer, key, is)
	case it != nil:
		r.judgeChange(v, writer, key, was, is)
	}
}

func (r *rules) judgeGiven(v revision, writer, key string, is store.Lease) {
	if is.State != store.Leased || is.Claims != nil && !is.Claims.Worker {
		return
	}
	r.judgeEpoch(v, writer, key, is)
	fresh := !r.nonces[is.Nonce]
	r.nonces[is.Nonce] = true
	if _, closed := v.before[store.GateKey()]; closed && fresh {
		r.tell(v, "%s gives %s while the gate is closed", writer, key)
	}
	if r.waits != "" && fresh {
		r.tell(v, "%s gives %s though the store has lost a write of %s", writer, key, r.waits)
	}
}

// judgeEpoch: who writes its name into a record does so in its own epoch.
func (r *rules) judgeEpoch(v revision, writer, key string, is store.Lease) {
	if is.Node != writer {
		r.tell(v, "%s writes a lease of %q at %s", writer, is.Node, key)
		return
	}
	if now := v.epoch(writer); now.Epoch != is.Epoch || now.Evicted {
		r.tell(v, "%s writes %s in epoch %d, and its epoch is %d (evicted: %t)", writer, key, is.Epoch, now.Epoch, now.Evicted)
	}
}

func (r *rules) judgeChange(v revision, writer, key string, was, is store.Lease) {
	evicted := v.epoch(was.Node).Evicted
	switch {
	case was.State == store.Reserved && is.State == store.Reserved:
	case was.State == store.Leased && is.State == store.Quarantined:
		if !evicted {
			r.tell(v, "%s quarantines %s of %s, which is not evicted", writer, key, was.Node)
		}
	case was.State == store.Quarantined && is.State == store.Leased:
		if is.Node != was.Node || is.Node != writer {
			r.tell(v, "%s has %s given to %s while it rests after %s", writer, key, is.Node, was.Node)
		}
	case was.State == store.Leased && is.State == store.Leased:
		r.judgeRewrite(v, writer, key, was, is, evicted)
	default:
		r.tell(v, "%s makes %s of %s %s", writer, is.State, was.State, key)
	}
}

func (r *rules) judgeRewrite(v revision, writer, key string, was, is store.Lease, evicted bool) {
	if was.Claims != nil || is.Claims != nil {
		r.judgeClaims(v, writer, key, was, is, evicted)
		return
	}
	if is.Node != was.Node || is.Nonce != was.Nonce {
		r.tell(v, "%s writes %s as %s's (nonce %.8s) over a lease of %s (nonce %.8s, endpoint %.12s)", writer, key, is.Node, is.Nonce, was.Node, was.Nonce, was.Endpoint)
		return
	}
	r.judgeEpoch(v, writer, key, is)
	if was.Endpoint != "" && is.Endpoint != was.Endpoint {
		r.judgeAlive(v, writer, key, was)
	}
}

// judgeClaims: of a swarm's address each side changes its own claim only, and
// one worker at a time has it.
func (r *rules) judgeClaims(v revision, writer, key string, was, is store.Lease, evicted bool) {
	if was.Claims == nil || is.Claims == nil {
		r.tell(v, "%s turns %s from claims %+v to %+v", writer, key, was.Claims, is.Claims)
		return
	}
	switch {
	case was.Claims.Worker && is.Claims.Worker:
		if was.Node != is.Node || was.Nonce != is.Nonce {
			r.tell(v, "%s gives the worker's claim of %s from %s (endpoint %.12s) to %s (endpoint %.12s)", writer, key, was.Node, was.Endpoint, is.Node, is.Endpoint)
		}
	case was.Claims.Worker:
		if writer != was.Node && !evicted {
			r.tell(v, "%s ends the worker's claim of %s on %s", writer, was.Node, key)
		} else {
			r.judgeAlive(v, writer, key, was)
		}
	case is.Claims.Worker:
		r.judgeEpoch(v, writer, key, is)
	}
	if !was.Claims.Manager && is.Claims.Manager && was.Claims.Worker {
		r.tell(v, "%s brings the manager's claim of %s back", writer, key)
	}
}

func (r *rules) judgeEnd(v revision, writer, key string, was store.Lease) {
	if was.State != store.Leased {
		return
	}
	if was.Claims != nil && !was.Claims.Worker {
		return
	}
	if writer == "" && r.byHand[key] {
		delete(r.byHand, key)
		return
	}
	if writer != was.Node {
		r.tell(v, "%s deletes %s, a lease of %s (endpoint %.12s)", orNobody(writer), key, was.Node, was.Endpoint)
		return
	}
	r.judgeAlive(v, writer, key, was)
}

// judgeAlive: the address of a living container stays.
func (r *rules) judgeAlive(v revision, writer, key string, was store.Lease) {
	if was.Endpoint == "" {
		return
	}
	if died, known := r.died(was.Endpoint, v.seen); known && !died {
		r.tell(v, "%s takes %s from endpoint %.12s of %s, which lives", writer, key, was.Endpoint, was.Node)
	}
}

func orNobody(writer string) string {
	if writer == "" {
		return "nobody known"
	}
	return writer
}

// judgeEndpoint: nothing starts on a network that is being removed. What was
// bound while the store was away is written whatever became of the network: its
// leases had another endpoint before.
func (r *rules) judgeEndpoint(v revision, key string, it *store.Item) {
	if _, had := v.before[key]; had || it == nil {
		return
	}
	e, err := store.Decode[store.Endpoint](*it)
	if err != nil || e.Network == "" {
		return
	}
	bound := false
	for lease, now := range v.after {
		was, had := v.lease(lease)
		bound = bound || had && now != nil && was.State == store.Leased && was.Endpoint == ""
	}
	if !bound {
		return
	}
	for other, it := range v.before {
		if !strings.HasPrefix(other, "/networks/") {
			continue
		}
		if n, err := store.Decode[store.Network](it); err == nil && n.UUID == e.Network {
			if n.State != store.NetworkActive {
				r.tell(v, "endpoint %.12s of %s starts on network %s, which is %s", e.Endpoint, e.Node, n.Name, n.State)
			}
			return
		}
	}
	if _, buried := v.before[store.TombstoneKey(e.Network)]; buried {
		r.tell(v, "endpoint %.12s of %s starts on network %s, which was removed", e.Endpoint, e.Node, e.Name)
	}
}

// restored notes whose writes are lost.
func (r *rules) restored(lost, now map[string]store.Item) {
	for key, it := range lost {
		node, ok := strings.CutPrefix(key, "/last/")
		if !ok {
			continue
		}
		if back := now[key]; back.Modified < it.Modified {
			e, _ := store.Decode[store.Epoch](lost[store.EpochKey(node)])
			r.lost[node] = e.Epoch
		}
	}
}

// count is told of every revision that was applied.
func (r *rules) count(revision, map[string]store.Item) {}
