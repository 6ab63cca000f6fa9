package conflict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// Answers asks on the LAN of a network, by the engine's id, who has these
// addresses, and waits so long for answers. An error means that nobody was asked.
type Answers func(ctx context.Context, network string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error)

// How long answers are waited for. On a wire they come within milliseconds; what
// sleeps between a radio's beacons needs longer.
const (
	Brief   = 150 * time.Millisecond
	Patient = 1500 * time.Millisecond
)

// Config is what Conflicts are made of; every field is needed.
type Config struct {
	KV   store.KV
	Node string // this one
	// Pool is that of a network of this host's on whose LAN an address is.
	Pool    func(pool.Place) (of Pool, found bool)
	Answers Answers
	// Vendor is who made a network card; "" where nobody knows.
	Vendor func(net.HardwareAddr) string
	// Holder is the endpoint that has an address, as far as this host follows them.
	Holder func(pool.Place) (node, endpoint string, known bool)
	// Own says whose of the cluster's a MAC address is that uses an address; "" for
	// nobody's.
	Own    func(pool.Place, net.HardwareAddr) string
	Events events.Teller
	Draws  rand.Source // any number may draw at once
	Now    func() time.Time
	Log    *slog.Logger
}

// Conflicts are the cluster's, as this host follows them.
type Conflicts struct {
	cfg   Config
	table *store.Table[store.Conflict]
	doubt *doubts
	turns map[string]turn // by key; of Run
	heard *sightings

	mu        sync.Mutex
	made      map[string]change // by key: of this host, and the table may not have heard of it yet
	hosts     map[string]bool   // the MAC addresses of hosts' interfaces; replaced, never changed
	hostsRead time.Time
}

// change is a conflict that this host wrote or ended.
type change struct {
	store.Conflict
	over bool
	at   time.Time
}

// New follows nothing until Run.
func New(cfg Config) *Conflicts {
	return &Conflicts{
		cfg: cfg, doubt: newDoubts(cfg.Now), turns: map[string]turn{}, heard: newSightings(cfg.Now), made: map[string]change{},
		table: store.NewTable[store.Conflict](store.ConflictsSpan(), func(err error) {
			cfg.Log.Warn("record of a conflict cannot be read: what it said before stands", "err", err)
		}),
	}
}

// All are the conflicts, in the order of their addresses.
func (cs *Conflicts) All() (all []store.Conflict) {
	cs.mu.Lock()
	made := maps.Clone(cs.made)
	cs.mu.Unlock()
	cs.table.Each(func(row store.Row[store.Conflict]) {
		mine, changed := made[row.Key]
		delete(made, row.Key)
		if !changed || !mine.over {
			all = append(all, row.Record)
		}
	})
	for _, mine := range made {
		if !mine.over {
			all = append(all, mine.Conflict)
		}
	}
	slices.SortFunc(all, func(a, b store.Conflict) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), a.Address.Compare(b.Address))
	})
	return all
}

// Found is an address that is free as far as the store knows, and who answers
// for it.
type Found struct {
	At      pool.Place
	MAC     net.HardwareAddr
	Network string // by name
}

// Take takes an address away from what is given, unless somebody has it by now: a
// container whose lease came first, or another host that found the same.
func (cs *Conflicts) Take(ctx context.Context, f Found) (taken bool, err error) {
	now := cs.cfg.Now().Unix()
	rec := store.Conflict{
		Segment: f.At.Segment, Address: f.At.Addr, MAC: f.MAC.String(), Vendor: cs.cfg.Vendor(f.MAC),
		Node: cs.cfg.Node, Network: f.Network, Since: now, Seen: now,
	}
	lease := store.Lease{State: store.Conflicted, Node: rec.Node, MAC: rec.MAC, Since: now}
	res, err := cs.cfg.KV.Commit(ctx, store.Txn{
		If: []store.Cond{store.Absent(store.LeaseKey(rec.Segment, rec.Address))},
		Then: []store.Op{
			store.Put(store.LeaseKey(rec.Segment, rec.Address), store.Encode(lease)),
			store.Put(store.ConflictKey(rec.Segment, rec.Address), store.Encode(rec)),
		},
	})
	if err != nil {
		return false, fmt.Errorf("note that address %s is in conflict: %w", rec.Address, err)
	}
	if res.Done {
		cs.mu.Lock()
		cs.made[store.ConflictKey(rec.Segment, rec.Address)] = change{rec, false, cs.cfg.Now()}
		cs.mu.Unlock()
		cs.cfg.Log.Warn("a free address is in use on the LAN by somebody who is not gvlan's: no container is given it",
			"address", rec.Address, "segment", rec.Segment, "network", rec.Network, "mac", rec.MAC, "vendor", rec.Vendor)
		cs.tell(rec, events.Conflict, "in use on the LAN by MAC "+Called(rec.MAC, rec.Vendor)+", which is not gvlan's: it is not given")
	}
	return res.Done, nil
}

// Called is a MAC address with its maker, "" where nobody knows.
func Called(mac, vendor string) string {
	if vendor == "" {
		return mac
	}
	return fmt.Sprintf("%s (%s)", mac, vendor)
}

func (cs *Conflicts) tell(c store.Conflict, kind events.Kind, text string) {
	cs.cfg.Events.Tell(events.Event{Kind: kind, Network: c.Network, Segment: c.Segment, Address: c.Address, MAC: c.MAC, Text: text})
}

// Clear ends a conflict: whoever wants the address asks for it again.
func (cs *Conflicts) Clear(ctx context.Context, at pool.Place, why string) (cleared bool, err error) {
	it, err := cs.cfg.KV.Get(ctx, store.ConflictKey(at.Segment, at.Addr))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("end the conflict over address %s: %w", at.Addr, err)
	}
	rec, err := store.Decode[store.Conflict](it)
	if err != nil {
		return false, err
	}
	return cs.end(ctx, it.Modified, rec, why)
}

// end deletes a conflict as it was read, and what keeps its address from being
// given. Where that is somebody's lease by now only the conflict goes.
func (cs *Conflicts) end(ctx context.Context, read store.Revision, c store.Conflict, why string) (ended bool, err error) {
	key := store.ConflictKey(c.Segment, c.Address)
	txn := store.Txn{If: []store.Cond{store.Unchanged(key, read)}, Then: []store.Op{store.Delete(key)}}
	it, err := cs.cfg.KV.Get(ctx, store.LeaseKey(c.Segment, c.Address))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("end the conflict over address %s: %w", c.Address, err)
	}
	if rec, bad := store.Decode[store.Lease](it); err == nil && bad == nil && rec.State == store.Conflicted {
		txn.If = append(txn.If, store.Unchanged(it.Key, it.Modified))
		txn.Then = append(txn.Then, store.Delete(store.LeaseKey(c.Segment, c.Address)))
	}
	res, err := cs.cfg.KV.Commit(ctx, txn)
	if err != nil {
		return false, fmt.Errorf("end the conflict over address %s: %w", c.Address, err)
	}
	if res.Done {
		cs.mu.Lock()
		cs.made[key] = change{c, true, cs.cfg.Now()}
		cs.mu.Unlock()
		cs.cfg.Log.Info("a conflict over an address is over", "address", c.Address, "segment", c.Segment, "mac", c.MAC, "why", why)
		cs.tell(c, events.ConflictOver, why)
	}
	return res.Done, nil
}

// How long after it answered an address is asked for again: twice as long each
// time.
const (
	firstAgain = 10 * time.Second
	lastAgain  = 5 * time.Minute
	lookEvery  = 3 * time.Second
	// leftAfter is after which silence of the host that found a conflict others ask
	// too: its agent may live while it cannot ask.
	leftAfter = 4 * lastAgain
)

// turn is when this host asks for a conflict's address again. It begins anew
// with each writing of the record, which tells all hosts that one has asked.
type turn struct {
	of  store.Revision
	due time.Time
}

// again is how long after its last writing a conflict's address is asked for: no
// two hosts at once, mostly.
func (cs *Conflicts) again(c store.Conflict) time.Duration {
	wait := firstAgain
	for range min(c.Asked, 10) {
		wait = min(2*wait, lastAgain)
	}
	return wait + time.Duration(rand.New(cs.cfg.Draws).Int64N(int64(wait/2)))
}

// isOurs reports whether this host asks for a conflict's address: the one that
// found it, since it is known to hear who has it (a host's own macvlan and macvtap
// children do not hear their parent), or any host while that one is not connected or
// has long not asked.
func (cs *Conflicts) isOurs(ctx context.Context, c store.Conflict) bool {
	if c.Node == cs.cfg.Node || cs.cfg.Now().Sub(time.Unix(c.Seen, 0)) > leftAfter {
		return true
	}
	_, err := cs.cfg.KV.Get(ctx, store.LiveKey(c.Node))
	return errors.Is(err, store.ErrNotFound)
}

// Run follows the conflicts and asks for their addresses again until ctx ends.
func (cs *Conflicts) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- cs.table.Run(ctx, cs.cfg.KV) }()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			return err
		case <-tick.C:
			cs.judgeHeard(ctx)
			cs.look(ctx)
		}
	}
}

// look asks for those whose time has come.
func (cs *Conflicts) look(ctx context.Context) {
	now, seen := cs.cfg.Now(), map[string]bool{}
	due := map[string]asked{} // by network
	var left []store.Row[store.Conflict]
	var rows []store.Row[store.Conflict]
	cs.table.Each(func(row store.Row[store.Conflict]) { rows = append(rows, row) })
	for _, row := range rows {
		seen[row.Key] = true
		mine := cs.turns[row.Key]
		if mine.of != row.Modified {
			mine = turn{row.Modified, now.Add(cs.again(row.Record))}
		}
		of, here := cs.cfg.Pool(pool.At(row.Record.Segment, row.Record.Address))
		switch {
		case !here && row.Record.Node == cs.cfg.Node:
			left = append(left, row)
		case here && !now.Before(mine.due) && cs.isOurs(ctx, row.Record):
			due[of.ID] = asked{of, append(due[of.ID].rows, row)}
		}
		if !now.Before(mine.due) {
			mine.due = now.Add(cs.again(row.Record))
		}
		cs.turns[row.Key] = mine
	}
	cs.mu.Lock()
	maps.DeleteFunc(cs.made, func(key string, mine change) bool { return seen[key] != mine.over || now.Sub(mine.at) > time.Minute })
	cs.mu.Unlock()
	for key := range cs.turns {
		if !seen[key] {
			delete(cs.turns, key)
		}
	}
	for _, row := range left {
		if _, err := cs.end(ctx, row.Modified, row.Record, "the host that found it has no network of it any more"); err != nil {
			return // as others will be
		}
	}
	for _, all := range due {
		if err := cs.askAgain(ctx, all); err != nil && ctx.Err() == nil {
			cs.cfg.Log.Warn("addresses in conflict cannot be asked for on the LAN: they stay so, and other hosts ask", "err", err)
		}
	}
}

// asked are conflicts that are asked for again on one network.
type asked struct {
	of   Pool
	rows []store.Row[store.Conflict]
}

// askAgain asks for addresses in conflict: patiently, before one is given again.
// Those beyond what is believed, which hosts may have found at once, are.
func (cs *Conflicts) askAgain(ctx context.Context, all asked) error {
	var addrs []netip.Addr
	for _, row := range all.rows {
		addrs = append(addrs, row.Record.Address)
	}
	answers, err := cs.cfg.Answers(ctx, all.of.ID, addrs, Patient)
	if err != nil {
		return err
	}
	for _, row := range all.rows {
		by, why := answers[row.Record.Address], ""
		if row.Record.Endpoint != "" {
			by, why = cs.stillClaims(row.Record, by)
		} else if len(by) == 0 {
			why = "nobody answers for it any more"
		} else if stands, err := cs.stands(ctx, row.Record); err != nil {
			return err
		} else if !stands {
			why = "it is a container's, or kept for a network"
		} else if _, believed := cs.Believes(pool.At(row.Record.Segment, row.Record.Address), by, all.of, nil); !believed {
			why = "who answers for it answers for too many"
		}
		if why != "" {
			if _, err := cs.end(ctx, row.Modified, row.Record, why); err != nil {
				return err
			}
			continue
		}
		var mac net.HardwareAddr
		if len(by) > 0 {
			mac = by[0]
		}
		if err := cs.seenAgain(ctx, row, mac); err != nil {
			return err
		}
	}
	return nil
}

// stands reports whether the store keeps a conflict's address from being given for
// that alone.
func (cs *Conflicts) stands(ctx context.Context, c store.Conflict) (bool, error) {
	it, err := cs.cfg.KV.Get(ctx, store.LeaseKey(c.Segment, c.Address))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rec, err := store.Decode[store.Lease](it)
	return err != nil || rec.State == store.Conflicted, nil
}

// seenAgain notes that an address still answers.
func (cs *Conflicts) seenAgain(ctx context.Context, row store.Row[store.Conflict], by net.HardwareAddr) error {
	rec := row.Record
	rec.Seen, rec.Asked = cs.cfg.Now().Unix(), rec.Asked+1
	if by != nil && rec.MAC != by.String() {
		rec.MAC, rec.Vendor = by.String(), cs.cfg.Vendor(by)
	}
	_, err := cs.cfg.KV.Commit(ctx, store.Txn{
		If:   []store.Cond{store.Unchanged(row.Key, row.Modified)},
		Then: []store.Op{store.Put(store.ConflictKey(rec.Segment, rec.Address), store.Encode(rec))},
	})
	return err
}
