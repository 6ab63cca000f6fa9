package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/ipam/survey"
)

// KindLAN is of an address that somebody answers for who should not.
const KindLAN Kind = "lan"

// mostAsked is how many addresses that nobody has are asked for in one subnet, the
// lowest: those are given next.
const mostAsked = 1024

// LAN asks the LANs of this host.
type LAN struct {
	KV     store.KV
	Survey *survey.Survey
	// Parents are the interfaces of this host that networks hang from, by uuid.
	Parents map[string]string
	// Answers asks at an interface who has these addresses.
	Answers func(ctx context.Context, ifname string, addrs []netip.Addr) (map[netip.Addr][]net.HardwareAddr, error)
}

// asked is an address that the LAN is asked for, as the store had it.
type asked struct {
	key      string // of the record that says what is right
	modified store.Revision
	segment  string
	addr     netip.Addr
	of       *store.Endpoint // that has it; nil: nobody has
	network  string          // by name
}

// fits reports whether somebody may answer for it.
func (a asked) fits(mac net.HardwareAddr) bool { return a.of != nil && a.of.MAC == mac.String() }

// Ask asks for the addresses that could be given next, and for those of all
// containers, on each network that this host has a parent for. It tells of
// answers by whom they cannot be, if they come twice while the store says the same
// all the while; and, as sentences, what it did not ask for.
func (l LAN) Ask(ctx context.Context) (found []Finding, unasked []string, err error) {
	at, unasked, err := l.questions(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("audit the LAN: %w", err)
	}
	said := make([][]Finding, len(at))
	failed := make([]error, len(at))
	parents := slices.Sorted(maps.Keys(at))
	var asking errgroup.Group
	for i, parent := range parents {
		asking.Go(func() error {
			said[i], failed[i] = l.askAt(ctx, parent, at[parent])
			return nil
		})
	}
	_ = asking.Wait()
	for i, parent := range parents {
		if failed[i] != nil {
			unasked = append(unasked, fmt.Sprintf("the LAN at %s: %v", parent, failed[i]))
		}
		found = append(found, said[i]...)
	}
	return found, unasked, ctx.Err()
}

// questions are the addresses to ask for, by parent.
func (l LAN) questions(ctx context.Context) (at map[string][]asked, unasked []string, err error) {
	at = map[string][]asked{}
	once := map[string]bool{} // two networks may have one pool and parent
	for _, n := range l.Survey.Networks.All() {
		parent := l.Parents[n.UUID]
		if parent == "" {
			if n.Node == "" {
				unasked = append(unasked, fmt.Sprintf("the LAN of network %s: this host has no parent of it", n.Name))
			}
			continue
		}
		for i := range n.Subnets {
			vacant, err := l.Survey.Vacant(ctx, l.KV, &n.Subnets[i], mostAsked)
			if err != nil {
				return nil, nil, err
			}
			if len(vacant) == mostAsked {
				unasked = append(unasked, fmt.Sprintf("free addresses of network %s above %s: there are too many", n.Name, vacant[mostAsked-1]))
			}
			for _, addr := range vacant {
				key := store.LeaseKey(n.Segment, addr)
				if !once[parent+key] {
					once[parent+key] = true
					at[parent] = append(at[parent], asked{key: key, segment: n.Segment, addr: addr, network: n.Name})
				}
			}
		}
	}
	_, err = l.KV.Scan(ctx, store.EndpointsSpan(), store.Whole, func(page []store.Item) error {
		for _, it := range page {
			e, err := store.Decode[store.Endpoint](it)
			parent := l.Parents[e.Network]
			if err != nil || parent == "" || e.MAC == "" { // ipvlan has its parent's
				continue
			}
			for _, addr := range e.Addresses() {
				at[parent] = append(at[parent], asked{it.Key, it.Modified, e.Segment, addr, &e, e.Name})
			}
		}
		return nil
	})
	return at, unasked, err
}

// askAt asks twice at one interface, the second time for what was answered wrongly
// the first time.
func (l LAN) askAt(ctx context.Context, parent string, all []asked) (found []Finding, err error) {
	wrong := map[netip.Addr][]net.HardwareAddr{}
	for range 2 {
		if len(all) == 0 {
			return nil, nil
		}
		var addrs []netip.Addr
		for _, a := range all {
			addrs = append(addrs, a.addr)
		}
		answers, err := l.Answers(ctx, parent, addrs)
		if err != nil {
			return nil, err
		}
		var still []asked
		for _, a := range all {
			by := slices.DeleteFunc(slices.Clone(answers[a.addr]), a.fits)
			if len(by) == 0 {
				continue
			}
			same, err := l.stands(ctx, a)
			if err != nil {
				return nil, err
			}
			if same {
				wrong[a.addr] = by
				still = append(still, a)
			}
		}
		all = still
	}
	for _, a := range all {
		found = append(found, a.finding(parent, wrong[a.addr]))
	}
	return found, nil
}

// stands reports whether the store says the same of an address as when it was
// asked for: also that nobody has it, and that it does not rest.
func (l LAN) stands(ctx context.Context, a asked) (bool, error) {
	it, err := l.KV.Get(ctx, a.key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if a.of != nil {
		return err == nil && it.Modified == a.modified, nil
	}
	if err == nil {
		return false, nil
	}
	_, err = l.KV.Get(ctx, store.CooldownKey(a.segment, a.addr))
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

func (a asked) finding(parent string, by []net.HardwareAddr) Finding {
	var who []string
	for _, mac := range by {
		who = append(who, mac.String())
	}
	f := Finding{Kind: KindLAN, Address: a.addr, Segment: a.segment, MAC: who[0]}
	answers := fmt.Sprintf("%s answers for it on the LAN at %s", strings.Join(who, " and "), parent)
	if a.of != nil {
		f.Node, f.Key = a.of.Node, a.key
		f.Why = fmt.Sprintf("container %s has it, with the MAC address %s, and %s", a.of.Container.Name, a.of.MAC, answers)
		f.Cure = "give the other machine another address"
		return f
	}
	f.Why = "nobody in the store has it, and " + answers + ": a container that is given it is in conflict"
	f.Cure = fmt.Sprintf("gvlan network set %s exclude+=%s, or give that machine another address", a.network, a.addr)
	return f
}
