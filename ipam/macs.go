package ipam

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
)

// MAC returns the hardware address that goes with an address: 02 (locally
// administered, unicast: IEEE 802) and the first 40 bits of
// SHA-256(cluster uuid, NUL, segment, NUL, address). A container that gets
// its address back gets its MAC back, and neighbours need not learn it anew.
func MAC(cluster, segment string, addr netip.Addr) net.HardwareAddr {
	sum := sha256.Sum256([]byte(cluster + "\x00" + segment + "\x00" + addr.String()))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}

// PrefixedMAC is MAC with a prefix of one to three bytes that a network asks
// for. With two the rest is an IPv4 address itself, with three its last three
// bytes, which people can read and which no other address of a subnet has; else
// it begins the same hash. For the store it is as one that a user gave: it has a
// key, and of two that meet nevertheless one is refused.
func PrefixedMAC(prefix net.HardwareAddr, cluster, segment string, addr netip.Addr) net.HardwareAddr {
	if len(prefix) == 0 {
		return MAC(cluster, segment, addr)
	}
	rest := 6 - len(prefix)
	from := addr.AsSlice()
	if rest > len(from) || addr.Is6() {
		return append(slices.Clone(prefix), MAC(cluster, segment, addr)[1:1+rest]...)
	}
	return append(slices.Clone(prefix), from[len(from)-rest:]...)
}

// ErrMACTaken is wrapped when another container of the segment has the
// hardware address that one is to start with.
var ErrMACTaken = errors.New("mac address is taken")

// On a segment a hardware address has one owner, as an address has. One that
// follows from an address (see MAC) is its lease's holder's. One that a user
// gave has a key, absent before and put by the transaction that binds the
// endpoint: of two hosts that start it at one moment one loses. An endpoint
// whose address derives that MAC compares the same key. What else has it, such
// as a container that was given the derived address of another, is known from
// a mirror of all endpoint records, which is asked first and confirmed by the
// record itself.
//
// A key counts while the endpoint that it names has a record. Records go in
// more ways than keys do (an eviction by an older gvlan, a lost journal); a
// key that was left behind is taken over.

// closings are the ends of endpoints: of their records, and of what holds their
// hardware addresses.
type closings struct{ *node.Node }

// steps delete the record of an endpoint, "" for none, and of one that was
// deleted what holds its hardware address. Ended is what the journal may forget
// once they happened.
func (cs *closings) steps(ctx context.Context, endpoint string) (ops []store.Op, ended []journal.Record, err error) {
	if endpoint == "" {
		return nil, nil, nil
	}
	ops = []store.Op{store.Delete(store.EndpointKey(cs.Self.Node(), endpoint))}
	e, known := cs.Memory.Binding(endpoint)
	if !known || e.State != journal.Closing {
		return ops, nil, nil
	}
	mac, err := cs.unclaimMAC(ctx, e.Record)
	return append(ops, mac...), []journal.Record{e}, err
}

// unclaimMAC returns the step that deletes the key of an endpoint's hardware
// address, if that is the endpoint's.
func (cs *closings) unclaimMAC(ctx context.Context, e store.Endpoint) ([]store.Op, error) {
	if !cs.isGiven(e) {
		return nil, nil
	}
	key := store.MACKey(e.Segment, e.MAC)
	it, err := cs.Read(ctx, key)
	if err != nil || it.Created == 0 {
		return nil, err
	}
	if rec, err := store.Decode[store.MAC](it); err != nil || !rec.Is(cs.macRecord(e)) {
		return nil, nil
	}
	// The endpoint's record goes all the same: nobody takes the key over before.
	return []store.Op{{Kind: store.OpNested, Nested: &store.Txn{
		If:   []store.Cond{store.Unchanged(key, it.Modified)},
		Then: []store.Op{store.Delete(key)},
	}}}, nil
}

// isGiven reports whether a user gave the hardware address: else it follows from
// an address of the endpoint.
func (cs *closings) isGiven(e store.Endpoint) bool {
	if e.MAC == "" {
		return false
	}
	return !slices.ContainsFunc(e.Addresses(), func(addr netip.Addr) bool {
		return MAC(cs.Self.Cluster(), e.Segment, addr).String() == e.MAC
	})
}

func (cs *closings) macRecord(e store.Endpoint) store.MAC {
	return store.MAC{Node: cs.Self.Node(), Endpoint: e.Endpoint}
}

// macSteps are what a binding's transaction does about the hardware address.
type macSteps struct {
	key   string // "": there is none to claim
	conds []store.Cond
	then  []store.Op
}

// macSteps claims the hardware address of an endpoint.
func (bs *bindings) macSteps(e store.Endpoint) macSteps {
	if e.MAC == "" {
		return macSteps{}
	}
	s := macSteps{key: store.MACKey(e.Segment, e.MAC)}
	s.conds = []store.Cond{store.Absent(s.key)}
	if bs.closings.isGiven(e) {
		s.then = []store.Op{store.Put(s.key, store.Encode(bs.closings.macRecord(e)))}
	}
	return s
}

// join adds the steps to a transaction.
func (s macSteps) join(txn *store.Txn) {
	if s.key == "" {
		return
	}
	txn.If = append(txn.If, s.conds...)
	txn.Then = append(txn.Then, s.then...)
	txn.Else = append(txn.Else, store.Get(s.key))
}

// meetMAC looks at what stands where a binding wanted to claim its hardware
// address. It returns the steps to try again with, or refuses.
func (bs *bindings) meetMAC(ctx context.Context, e store.Endpoint, res store.Result) (macSteps, error) {
	again := bs.macSteps(e)
	it, taken := res.Item(again.key)
	if !taken {
		return again, nil
	}
	rec, err := store.Decode[store.MAC](it)
	if err != nil {
		return again, err
	}
	if rec == bs.closings.macRecord(e) { // of an earlier try
		again.conds = []store.Cond{store.Unchanged(again.key, it.Modified)}
		return again, nil
	}
	holder := store.EndpointKey(rec.Node, rec.Endpoint)
	found, err := bs.Read(ctx, holder)
	if err != nil {
		return again, err
	}
	if found.Created != 0 {
		return again, bs.macError(ctx, e.MAC, rec.Node, rec.Endpoint)
	}
	again.conds = []store.Cond{store.Unchanged(again.key, it.Modified), store.Absent(holder)}
	if len(again.then) == 0 {
		again.then = []store.Op{store.Delete(again.key)}
	}
	return again, nil
}

// macError names who has a hardware address.
func (bs *bindings) macError(ctx context.Context, mac, node, endpoint string) error {
	return fmt.Errorf("%w: %s is %s: give another --mac-address, or none", ErrMACTaken, mac, bs.holders.heldBy(ctx, node, endpoint))
}

// checkMAC refuses a hardware address that an endpoint has by what is known
// without a transaction: this node's own endpoints, of which a dead one is
// closed, and the mirror of everybody's, whose record is read before it
// counts.
func (bs *bindings) checkMAC(ctx context.Context, e store.Endpoint) error {
	if e.MAC == "" {
		return nil
	}
	same := bs.Memory.Bindings(func(o journal.Binding) bool {
		return o.State != journal.Closing && o.Record.Endpoint != e.Endpoint && o.Record.MAC == e.MAC && o.Record.Segment == e.Segment
	})
	for _, o := range same {
		if closed, err := bs.CloseDead(ctx, o.Record.Endpoint); err != nil || !closed {
			return errors.Join(bs.macError(ctx, e.MAC, bs.Self.Node(), o.Record.Endpoint), err)
		}
	}
	if !bs.closings.isGiven(e) {
		return nil
	}
	for _, key := range bs.macs.keysOf(macAt{e.Segment, e.MAC}) {
		it, err := bs.Read(ctx, key)
		if errors.Is(err, store.ErrUnavailable) {
			return nil // the transaction will tell
		}
		if err != nil {
			return err
		}
		rec, err := store.Decode[store.Endpoint](it)
		if it.Created == 0 || err != nil || rec.Node == bs.Self.Node() || rec.MAC != e.MAC || rec.Segment != e.Segment {
			continue
		}
		return bs.macError(ctx, e.MAC, rec.Node, rec.Endpoint)
	}
	return nil
}

// claimMACs makes the keys of running endpoints that have none: they were
// bound by an older gvlan, without the store, or the store lost them. Two that
// run with one MAC already are told of.
func (bs *bindings) claimMACs(ctx context.Context) error {
	running := bs.Memory.Bindings(func(e journal.Binding) bool { return e.State == journal.Written && bs.closings.isGiven(e.Record) })
	for _, e := range running {
		err := bs.claimMAC(ctx, e.Record)
		if errors.Is(err, ErrMACTaken) {
			bs.Log.Error("two containers of a segment have one MAC address: stop one of them", "endpoint", node.Short(e.Record.Endpoint), "err", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// claimMAC makes the key of one endpoint's hardware address.
func (bs *bindings) claimMAC(ctx context.Context, e store.Endpoint) error {
	steps := bs.macSteps(e)
	for {
		var txn store.Txn
		steps.join(&txn)
		res, err := bs.Commit(ctx, txn)
		if err != nil || res.Done {
			return err
		}
		if it, taken := res.Item(steps.key); taken {
			if rec, err := store.Decode[store.MAC](it); err != nil || rec.Is(bs.closings.macRecord(e)) {
				return err
			}
		}
		if steps, err = bs.meetMAC(ctx, e, res); err != nil {
			return err
		}
	}
}

// macAt is where a hardware address exists once.
type macAt struct{ segment, mac string }

// macs is the local copy of which endpoints have which hardware address.
type macs struct {
	mu  sync.Mutex
	has map[string]macAt   // by the endpoint's key
	by  map[macAt][]string // the endpoints' keys; nearly always one
	// at are the endpoints' keys by their addresses, and back.
	at    map[pool.Place]string
	where map[string][]pool.Place
}

func newMACs() *macs {
	return &macs{has: map[string]macAt{}, by: map[macAt][]string{}, at: map[pool.Place]string{}, where: map[string][]pool.Place{}}
}

// ApplyEndpoints takes what store.Follow reports for store.EndpointsSpan.
func (bs *bindings) ApplyEndpoints(c store.Change) {
	bs.macs.mu.Lock()
	defer bs.macs.mu.Unlock()
	if c.Reset {
		clear(bs.macs.has)
		clear(bs.macs.by)
		clear(bs.macs.at)
		clear(bs.macs.where)
	}
	for _, it := range c.Items {
		bs.macs.put(it)
	}
	for _, e := range c.Events {
		bs.macs.drop(e.Item.Key)
		if !e.Deleted {
			bs.macs.put(e.Item)
		}
	}
}

func (m *macs) put(it store.Item) {
	rec, err := store.Decode[store.Endpoint](it)
	if err != nil {
		return
	}
	for _, addr := range rec.Addresses() {
		m.at[pool.At(rec.Segment, addr)] = it.Key
		m.where[it.Key] = append(m.where[it.Key], pool.At(rec.Segment, addr))
	}
	if rec.MAC == "" {
		return
	}
	at := macAt{rec.Segment, rec.MAC}
	m.has[it.Key] = at
	m.by[at] = append(m.by[at], it.Key)
}

func (m *macs) drop(key string) {
	for _, place := range m.where[key] {
		if m.at[place] == key {
			delete(m.at, place)
		}
	}
	delete(m.where, key)
	at, had := m.has[key]
	if !had {
		return
	}
	delete(m.has, key)
	m.by[at] = slices.DeleteFunc(m.by[at], func(k string) bool { return k == key })
	if len(m.by[at]) == 0 {
		delete(m.by, at)
	}
}

// ownMAC says whose of the cluster's a MAC address is that somebody answered with
// for an address; "" for nobody's.
func (bs *bindings) ownMAC(at pool.Place, mac net.HardwareAddr) string {
	derived := []net.HardwareAddr{MAC(bs.Self.Cluster(), at.Segment, at.Addr)}
	for _, n := range bs.Memory.Networks() {
		if prefix := n.Options.MACPrefixBytes(); len(prefix) > 0 && n.Segment == at.Segment {
			derived = append(derived, PrefixedMAC(prefix, bs.Self.Cluster(), at.Segment, at.Addr))
		}
	}
	if slices.ContainsFunc(derived, func(of net.HardwareAddr) bool { return slices.Equal(mac, of) }) {
		return "a container of gvlan's that had the address"
	}
	for _, key := range bs.macs.keysOf(macAt{at.Segment, mac.String()}) {
		if of, endpoint, ok := store.EndpointOf(key); ok {
			return fmt.Sprintf("endpoint %s of node %s", node.Short(endpoint), of)
		}
	}
	return ""
}

// holderOf is the endpoint that has an address, as far as this host follows them.
func (bs *bindings) holderOf(at pool.Place) (of, endpoint string, known bool) {
	bs.macs.mu.Lock()
	key := bs.macs.at[at]
	bs.macs.mu.Unlock()
	return store.EndpointOf(key)
}

func (m *macs) keysOf(at macAt) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.by[at])
}
