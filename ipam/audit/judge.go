package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gvlan/cluster/description"
	"gvlan/cluster/store"
)

// longestRest is how old the rest of an address after a container may be by this
// host's clock. The longest cooldown is an hour; etcd begins a time to live anew
// with each leader.
const longestRest = 6 * time.Hour

// ownGrace is how old a record of this host's own must be before its agent's not
// knowing it counts: a call may have written it and not have noted it yet.
const ownGrace = time.Minute

var errNoNode = errors.New("it names no node")

// judge is a judgement of records by one look.
type judge struct {
	*look
	own Witness // nil: nobody
	now time.Time
}

// of judges a record. One finding is enough: what else is wrong with it the next
// audit tells.
func (j judge) of(it store.Item, in folder) (Finding, bool) {
	switch in {
	case leases:
		return j.ofLease(it)
	case endpoints:
		return j.ofEndpoint(it)
	case defaults:
		return j.ofDefault(it)
	case macs:
		return j.ofMAC(it)
	case descriptions:
		return ofRemains[store.Node](j, it, "describes a host", description.Delete(store.NameOf(it.Key)))
	case refs:
		return ofRemains[store.Refs](j, it, "says which networks containers refer to", store.Delete(store.RefsKey(store.NameOf(it.Key))))
	case removals:
		if j.standing(store.NameOf(it.Key)) != unknown {
			return readable[store.Removal](it)
		}
		return ofRemains[store.Removal](j, it, "answers to a network's removal", store.Delete(store.RemovalKey(store.RemovalOf(it.Key), store.NameOf(it.Key))))
	case reservations:
		return j.ofOperators(it)
	case epochs:
		return readable[store.Epoch](it)
	case networks:
		return readable[store.Network](it)
	case tombstones:
		return readable[store.Tombstone](it)
	case quarantines:
		return readable[store.Quarantine](it)
	}
	return Finding{}, false
}

// readable finds a record that cannot be read.
func readable[T any](it store.Item) (Finding, bool) {
	_, err := store.Decode[T](it)
	return unreadable(it, err), err != nil
}

func unreadable(it store.Item, err error) Finding {
	return Finding{
		Kind: KindUnreadable, Key: it.Key, Why: fmt.Sprintf("it cannot be read: %v", err),
		Cure: "a newer gvlan wrote it, or a hand: upgrade this host, or write it as it should be with etcdctl",
	}
}

// within reports whether an address lies in a network, as far as is known.
func (j judge) within(segment string, addr netip.Addr) bool {
	return j.hidden || j.pools.have(segment, addr)
}

// whose is what a node that is not of the cluster is to it.
func (j judge) whose(node string) string {
	if j.standing(node) == gone {
		return "which was evicted"
	}
	return "which the cluster does not know"
}

// ofLease judges an address that has a record.
func (j judge) ofLease(it store.Item) (Finding, bool) {
	if _, _, rests := store.CooldownOf(it.Key); rests {
		return j.ofCooldown(it)
	}
	segment, addr, err := store.LeaseOf(it.Key)
	if err != nil {
		return unreadable(it, err), true
	}
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		return unreadable(it, err), true
	}
	f := Finding{Key: it.Key, Segment: segment, Address: addr, Node: rec.Node}
	switch {
	case rec.State == store.Reserved:
		return j.ofReservation(f, it, rec)
	case rec.State == store.Conflicted:
		return j.ofConflict(f, it)
	case rec.Node == "" && rec.Claims == nil:
		return unreadable(it, errNoNode), true
	case rec.State == store.Quarantined:
		return j.ofQuarantined(f, it, rec)
	case rec.Claims != nil && !rec.Claims.Worker:
		return f, false // the swarm's own, which its leader ends
	}
	return j.ofLeased(f, it, rec)
}

// ofLeased judges an address that a node has. What another node of the cluster has
// is in that node's hands: it may be about to bind it, or to give it back, and only
// its own agent knows.
func (j judge) ofLeased(f Finding, it store.Item, rec store.Lease) (Finding, bool) {
	conds, strange := j.notOfUs(rec.Node)
	forgotten := !strange && j.isOwn(rec.Node) && j.aged(rec.Since) && !j.own.HasLease(f.Segment, f.Address) && !j.own.HasEndpoint(rec.Endpoint)
	if !strange && !forgotten {
		return f, false
	}
	by := fmt.Sprintf("node %s, %s", rec.Node, j.whose(rec.Node))
	if forgotten {
		by = "this host, whose agent knows nothing of it"
	}
	tied := j.brief || rec.Bound() && j.claimed.has(j.tieMark(tie{rec.Node, rec.Endpoint, f.Segment, f.Address}))
	switch {
	case !j.within(f.Segment, f.Address):
		f.Kind, f.Why = KindOutside, "it lies in no network and is held by "+by
	case !tied:
		f.Kind, f.Why = KindLease, "no endpoint has it, and it is held by "+by
	case forgotten:
		return f, false // the endpoint's record is judged
	default:
		f.Kind, f.Why = KindNode, "it is held by "+by
	}
	f.Cure = "it rests for ten minutes, and is free when nobody on the LAN answers for it"
	conds = append(conds, store.Unchanged(it.Key, it.Modified))
	if rec.Claims != nil && rec.Claims.Manager {
		rec.Claims.Worker = false
		rec.Node, rec.Epoch, rec.Endpoint = "", 0, ""
		f.Cure = "the swarm keeps it, for whichever node runs the task"
		f.mend(conds, store.Put(it.Key, store.Encode(rec)))
		return f, true
	}
	rec.State, rec.Claims, rec.Since = store.Quarantined, nil, j.now.Unix()
	f.mend(conds, store.Put(it.Key, store.Encode(rec)))
	f.repair.rests = rec.Node
	return f, true
}

// mend makes a finding one that is repaired by ops, while conds hold.
func (f *Finding) mend(conds []store.Cond, ops ...store.Op) {
	f.Repairable = true
	f.repair.txn = store.Txn{If: conds, Then: ops}
}

// ofQuarantined judges an address that rests after an eviction.
func (j judge) ofQuarantined(f Finding, it store.Item, rec store.Lease) (Finding, bool) {
	if j.rests[rec.Node] {
		return f, false
	}
	f.Kind, f.Why = KindQuarantine, "it rests after an eviction, and no record says that its rest ends"
	f.Cure = "it rests for ten more minutes, and is free when nobody on the LAN answers for it"
	f.mend([]store.Cond{store.Unchanged(it.Key, it.Modified)})
	f.repair.rests = rec.Node
	return f, true
}

// ofConflict judges an address that somebody on the LAN has. Whoever has a network
// of it asks whether that is so still.
func (j judge) ofConflict(f Finding, it store.Item) (Finding, bool) {
	f.Kind, f.Why, f.Cure = KindOutside, "somebody on the LAN had it, and it lies in no network", "it is free"
	f.mend([]store.Cond{store.Unchanged(it.Key, it.Modified)}, store.Delete(store.LeaseKey(f.Segment, f.Address)))
	return f, !j.within(f.Segment, f.Address)
}

// ofReservation judges an address that networks keep. A definition's name goes
// with the definition, in one transaction.
func (j judge) ofReservation(f Finding, it store.Item, rec store.Lease) (Finding, bool) {
	conds := []store.Cond{store.Unchanged(it.Key, it.Modified)}
	kept, lost, of := j.parted(rec.By)
	conds = append(conds, of...)
	if len(lost) == 0 && len(rec.By) > 0 {
		return f, false
	}
	f.Kind, f.Why, f.Cure = KindReservation, "it is reserved, and for nobody", "it is free"
	if len(lost) > 0 {
		f.Why = "it is reserved for " + j.called(lost)
	}
	if rec.By = kept; len(kept) > 0 {
		f.Cure = "it stays reserved for the networks that there are"
		f.mend(conds, store.Put(it.Key, store.Encode(rec)))
	} else {
		f.mend(conds, store.Delete(it.Key))
	}
	return f, true
}

// lost reports whether a name in a reservation is nobody's any more, and which
// conditions hold as long as that is so. A create that is not finished is in the
// hands of its node.
func (j judge) lost(by string) ([]store.Cond, bool) {
	if _, node, unfinished := store.PoolOf(by); unfinished {
		return j.notOfUs(node)
	}
	if j.networks[by] || j.hidden {
		return nil, false
	}
	return []store.Cond{store.Unchanged(store.TombstoneKey(by), j.graves[by])}, true
}

// parted are the names of a reservation that are somebody's and those that are
// nobody's any more, with what holds as long as that is so.
func (j judge) parted(names []string) (kept, lost []string, conds []store.Cond) {
	for _, by := range names {
		if of, isLost := j.lost(by); isLost {
			lost, conds = append(lost, by), append(conds, of...)
		} else {
			kept = append(kept, by)
		}
	}
	return kept, lost, conds
}

// called is what people call names that are nobody's.
func (j judge) called(lost []string) string {
	var all []string
	for _, by := range lost {
		if _, node, unfinished := store.PoolOf(by); unfinished {
			all = append(all, fmt.Sprintf("a network that node %s, %s, was creating", node, j.whose(node)))
			continue
		}
		all = append(all, fmt.Sprintf("network %s, which does not exist", by))
	}
	return strings.Join(all, ", and for ")
}

// ofOperators judges an address that an operator reserves. It goes just before the
// network does.
func (j judge) ofOperators(it store.Item) (Finding, bool) {
	segment, addr, bad := store.ReservationOf(it.Key)
	rec, err := store.Decode[store.Reservation](it)
	if err := errors.Join(bad, err); err != nil {
		return unreadable(it, err), true
	}
	f := Finding{Kind: KindReservation, Key: it.Key, Segment: segment, Address: addr, Node: rec.Node, Cure: "it is given like any other"}
	conds, lost := j.lost(rec.Network)
	f.Why = fmt.Sprintf("it was reserved on network %s, which does not exist", rec.Name)
	f.mend(append(conds, store.Unchanged(it.Key, it.Modified)), store.Delete(store.ReservationKey(segment, addr)))
	return f, lost
}

// ofDefault judges a subnet of the default pools.
func (j judge) ofDefault(it store.Item) (Finding, bool) {
	rec, err := store.Decode[store.DefaultPool](it)
	if err != nil {
		return unreadable(it, err), true
	}
	f := Finding{Kind: KindSubnet, Key: it.Key, Node: rec.Node, Cure: "networks without --subnet can take it again"}
	conds := []store.Cond{store.Unchanged(it.Key, it.Modified)}
	if len(rec.By) == 0 {
		of, strange := j.notOfUs(rec.Node)
		f.Why = fmt.Sprintf("subnet %s is taken for a network that node %s, %s, was creating", rec.Subnet, rec.Node, j.whose(rec.Node))
		f.mend(append(conds, of...), store.Delete(it.Key))
		return f, strange
	}
	kept, lost, of := j.parted(rec.By)
	conds = append(conds, of...)
	f.Why = fmt.Sprintf("subnet %s is taken for %s", rec.Subnet, j.called(lost))
	if rec.By = kept; len(kept) > 0 {
		f.Cure = "it stays taken for the networks that there are"
		f.mend(conds, store.Put(it.Key, store.Encode(rec)))
	} else {
		f.mend(conds, store.Delete(it.Key))
	}
	return f, len(lost) > 0
}

// ofCooldown judges an address that rests after a container.
func (j judge) ofCooldown(it store.Item) (Finding, bool) {
	segment, addr, _ := store.CooldownOf(it.Key)
	rec, err := store.Decode[store.Cooldown](it)
	if err != nil {
		return unreadable(it, err), true
	}
	since := time.Unix(rec.Since, 0)
	f := Finding{
		Kind: KindRest, Key: it.Key, Segment: segment, Address: addr,
		Why:  fmt.Sprintf("it rests after a container since %s, and hangs from nothing that ends", since.UTC().Format("2006-01-02 15:04 MST")),
		Cure: "it is given like any other",
	}
	f.mend([]store.Cond{store.Unchanged(it.Key, it.Modified)}, store.Delete(store.CooldownKey(segment, addr)))
	return f, j.now.Sub(since) > longestRest
}

// ofEndpoint judges an endpoint's record. Its addresses are its own in the store
// from the transaction that wrote it until the one that deletes it, whatever its
// node does.
func (j judge) ofEndpoint(it store.Item) (Finding, bool) {
	node, id, ok := store.EndpointOf(it.Key)
	if j.brief && ok { // reading it costs more than all else
		_, strange := j.notOfUs(node)
		return Finding{}, strange || j.isOwn(node) && !j.own.HasEndpoint(id)
	}
	rec, err := store.Decode[store.Endpoint](it)
	if err != nil || !ok {
		return unreadable(it, err), true
	}
	f := Finding{Key: it.Key, Node: node, Segment: rec.Segment}
	var untied []netip.Addr
	for _, addr := range rec.Addresses() {
		f.Address = addr
		if !j.bound.has(j.tieMark(tie{node, id, rec.Segment, addr})) {
			untied = append(untied, addr)
		}
	}
	if len(untied) > 0 {
		f.Address = untied[0]
	}
	conds, strange := j.notOfUs(node)
	conds = append(conds, store.Unchanged(it.Key, it.Modified))
	called := "container " + rec.Container.Name
	if rec.Container.Name == "" {
		called = fmt.Sprintf("endpoint %.12s", id)
	}
	switch {
	case strange && len(untied) > 0:
		f.Kind, f.Why = KindEndpoint, fmt.Sprintf("%s has no right to it, and is on node %s, %s", called, node, j.whose(node))
	case strange:
		f.Kind, f.Why = KindNode, fmt.Sprintf("%s is on node %s, %s", called, node, j.whose(node))
	case j.standing(node) == moving:
		return f, false
	case len(untied) > 0:
		f.Kind, f.Why = KindEndpoint, fmt.Sprintf("%s says it has %s, and the store does not have it so", called, join(untied))
		f.Cure = "where somebody else has it stop one of the two; else the agent of its node writes it again: see that it runs (gvlan node ls)"
		return f, true
	case j.isOwn(node) && j.aged(rec.Since) && !j.own.HasEndpoint(id):
		f.Kind, f.Why = KindName, called+" is not on this host, and its names are answered"
	default:
		return f, false
	}
	f.Cure = "its names are gone"
	f.mend(conds, store.Delete(store.EndpointKey(node, id)))
	return f, true
}

func join(addrs []netip.Addr) string {
	var all []string
	for _, addr := range addrs {
		all = append(all, addr.String())
	}
	return strings.Join(all, " and ")
}

// ofMAC judges a hardware address that a user gave.
func (j judge) ofMAC(it store.Item) (Finding, bool) {
	segment, mac, ok := store.MACOf(it.Key)
	rec, err := store.Decode[store.MAC](it)
	if err != nil || !ok {
		return unreadable(it, err), true
	}
	f := Finding{Kind: KindMAC, Key: it.Key, Node: rec.Node, Segment: segment, MAC: mac, Cure: "it can be given again"}
	if j.standing(rec.Node) == moving { // its endpoints' records go first, or come back last
		return f, false
	}
	conds, strange := j.notOfUs(rec.Node)
	f.Why = fmt.Sprintf("%s is kept for an endpoint of node %s, %s", mac, rec.Node, j.whose(rec.Node))
	if !strange {
		conds = []store.Cond{store.Absent(store.EndpointKey(rec.Node, rec.Endpoint))}
		f.Why = fmt.Sprintf("%s is kept for endpoint %.12s, which is no more", mac, rec.Endpoint)
	}
	f.mend(append(conds, store.Unchanged(it.Key, it.Modified)), store.Delete(store.MACKey(segment, mac)))
	return f, strange || !j.brief && !j.endpoints.has(j.endpointMark(rec.Node, rec.Endpoint))
}

// ofRemains judges what a node wrote of itself.
func ofRemains[T any](j judge, it store.Item, says string, end store.Op) (Finding, bool) {
	if f, bad := readable[T](it); bad {
		return f, true
	}
	node := store.NameOf(it.Key)
	conds, strange := j.notOfUs(node)
	f := Finding{
		Kind: KindNode, Key: it.Key, Node: node, Cure: "nothing shows it any more",
		Why: fmt.Sprintf("it %s, and is of node %s, %s", says, node, j.whose(node)),
	}
	f.mend(append(conds, store.Unchanged(it.Key, it.Modified)), end)
	return f, strange
}

// isOwn reports whether a node is this host's, whose agent bears witness.
func (j judge) isOwn(node string) bool {
	return j.own != nil && j.own.Node() == node && j.standing(node) == connected
}

// aged reports whether what this host wrote at a time, by its own clock, must be
// known to its agent.
func (j judge) aged(since int64) bool { return j.now.Sub(time.Unix(since, 0)) > ownGrace }
