package evict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
)

// ErrUsed: somebody uses the address that is to be released, or may.
var ErrUsed = errors.New("it is not released")

// ErrChanged: its record is not the one that was looked at any more.
var ErrChanged = errors.New("it changed since it was looked at: look again (gvlan lease show)")

// Release frees an address that nobody uses: one that was given and has no
// container, of a node that the cluster does not know or of this one, or, by
// force, one in quarantine. What could be in use it never frees.
type Release struct {
	KV   store.KV
	Self string // this node
	// Holds reports whether this node's memory has the address.
	Holds func(segment string, addr netip.Addr) bool
	// Answers asks the LAN who answers for the address: as words, "" for nobody.
	// asked is false where this host cannot ask there.
	Answers func(ctx context.Context, addr netip.Addr) (who string, asked bool)
	Called  func(node string) string   // what people call a node
	Network func(called string) string // the name of what a lease calls its network so; "": none is known
	Events  events.Teller              // is told of an address that is free; never nil
}

// Address releases one as it was looked at: while its record was last modified
// then. Force ends a quarantine, and frees an address of which this host cannot
// ask whether somebody answers for it.
func (r Release) Address(ctx context.Context, segment string, addr netip.Addr, at store.Revision, force bool) error {
	it, err := r.KV.Get(ctx, store.LeaseKey(segment, addr))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("address %s has no lease in segment %s: %w", addr, segment, err)
	}
	if err != nil {
		return err
	}
	if it.Modified != at {
		return fmt.Errorf("address %s: %w", addr, ErrChanged)
	}
	rec, err := store.Decode[store.Lease](it)
	if err != nil {
		return fmt.Errorf("%w; a newer gvlan wrote it: release it with that one", err)
	}
	conds, why, err := r.judge(ctx, rec, segment, addr, force)
	if err != nil {
		return err
	}
	if why == "" {
		why = r.heard(ctx, addr, force)
	}
	if why != "" {
		return fmt.Errorf("address %s: %w: %s", addr, ErrUsed, why)
	}
	conds = append(conds, store.Unchanged(it.Key, it.Modified))
	res, err := r.KV.Commit(ctx, store.Txn{If: conds, Then: []store.Op{store.Delete(store.LeaseKey(segment, addr))}})
	switch {
	case err != nil:
		return err
	case !res.Done:
		return fmt.Errorf("address %s: %w", addr, ErrChanged)
	}
	r.Events.Tell(events.Event{
		Kind: events.Released, Node: rec.Node, Network: r.Network(rec.Network), Segment: segment, Address: addr,
		Endpoint: rec.Endpoint, Text: "by gvlan lease release",
	})
	return nil
}

// judge says why an address is not released, by what the store says; else what
// must still be so when it is.
func (r Release) judge(ctx context.Context, rec store.Lease, segment string, addr netip.Addr, force bool) (conds []store.Cond, why string, err error) {
	switch {
	case rec.State == store.Reserved:
		return nil, r.reserved(rec), nil
	case rec.State == store.Conflicted:
		return nil, "somebody on the LAN has it who is none of gvlan's: it is free by itself when nobody answers for it any more, or with gvlan conflict clear", nil
	case rec.State == store.Quarantined && !force:
		return nil, fmt.Sprintf("host %s had it and was evicted, but may still run; it is free by itself ten minutes after that, if nobody on the LAN answers for it. "+
			"--force ends its quarantine now", r.Called(rec.Node)), nil
	case rec.State == store.Quarantined:
		return nil, "", nil
	case rec.Claims != nil && rec.Claims.Manager:
		return nil, "the swarm keeps it for a task or service: remove that, or scale it down (docker service rm, docker service scale)", nil
	}
	if rec.Endpoint != "" {
		key := store.EndpointKey(rec.Node, rec.Endpoint)
		it, err := r.KV.Get(ctx, key)
		if err == nil {
			return nil, r.attached(it, rec), nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, "", err
		}
		conds = append(conds, store.Absent(key))
	}
	if rec.Node == r.Self {
		if r.Holds(segment, addr) {
			return nil, "this host is about to give it to a container, or took it back a moment ago: if no container gets it, it is free within two minutes by itself", nil
		}
		return conds, "", nil
	}
	return r.elsewhere(ctx, rec, conds)
}

// elsewhere judges a lease of another node that no endpoint is known of.
func (r Release) elsewhere(ctx context.Context, rec store.Lease, conds []store.Cond) ([]store.Cond, string, error) {
	host := r.Called(rec.Node)
	_, err := r.KV.Get(ctx, store.LiveKey(rec.Node))
	if err == nil {
		return nil, fmt.Sprintf("host %s is connected and looks after it: if no container gets it, it is free within two minutes; else run this command there", host), nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, "", err
	}
	_, err = r.KV.Get(ctx, store.EpochKey(rec.Node))
	if err == nil {
		return nil, fmt.Sprintf("host %s has it and is not connected, but may still run: start its agent, or, if it is gone for good, gvlan node evict %s", host, host), nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, "", err
	}
	return append(conds, store.Absent(store.EpochKey(rec.Node)), store.Absent(store.LiveKey(rec.Node))), "", nil
}

// attached says which container has an address.
func (r Release) attached(it store.Item, rec store.Lease) string {
	container := "a container"
	if e, err := store.Decode[store.Endpoint](it); err == nil {
		if e.Container.Name != "" {
			container = "container " + e.Container.Name
		}
	}
	host := r.Called(rec.Node)
	return fmt.Sprintf("%s on host %s has it: stop or remove it there; if that host is gone for good, gvlan node evict %s", container, host, host)
}

// reserved says which network keeps an address.
func (r Release) reserved(rec store.Lease) string {
	for _, by := range rec.By {
		if _, node, making := store.PoolOf(by); making {
			return fmt.Sprintf("it is kept for a network that host %s makes: if that comes to nothing, it is free within two minutes", r.Called(node))
		}
		if name := r.Network(by); name != "" {
			return fmt.Sprintf("network %s keeps it, as its gateway or an auxiliary address: it is free when that network is removed (gvlan network rm %s)", name, name)
		}
	}
	return fmt.Sprintf("it is kept for a network that is not there (%s): gvlan audit --repair takes back what nobody needs", cmp.Or(strings.Join(rec.By, ", "), "none"))
}

// heard says why an address is not released, by what the LAN says.
func (r Release) heard(ctx context.Context, addr netip.Addr, force bool) string {
	who, asked := r.Answers(ctx, addr)
	switch {
	case who != "":
		return fmt.Sprintf("it answers on the LAN (%s): stop who has it first", who)
	case !asked && !force:
		return "whether somebody answers for it could not be asked, since this host has no usable parent of its network: run this command on a host that has, or give --force"
	}
	return ""
}
