package answer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/dns/zone"
	"gvlan/driver/visible"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/survey"
)

// whois says whose an address, a hardware address or a name is.
func (a Leases) whois(r *http.Request) (any, error) {
	of := strings.TrimSpace(r.URL.Query().Get("of"))
	s, err := a.survey(r.Context())
	if err != nil {
		return nil, err
	}
	var found []api.Found
	var near []string
	if addr, addrErr := netip.ParseAddr(of); addrErr == nil {
		found, err = a.whoisAddress(r.Context(), s, addr.WithZone("").Unmap())
	} else if mac, macErr := net.ParseMAC(of); macErr == nil {
		found, err = a.whoisMAC(r.Context(), s, mac.String())
	} else {
		found, near, err = a.whoisName(r.Context(), s, of)
	}
	if err != nil {
		return nil, err
	}
	a.addLearnt(r.Context(), found)
	for i := range found {
		if found[i].Last == nil {
			found[i].Last = []api.Holder{}
		}
	}
	return api.WhoisAnswer{Found: append([]api.Found{}, found...), Near: near}, nil
}

// whoisAddress tells of an address in each segment that has it; where no
// container does, the LAN is asked.
func (a Leases) whoisAddress(ctx context.Context, s *survey.Survey, addr netip.Addr) (found []api.Found, err error) {
	var last map[string][]api.Holder
	var reading sync.WaitGroup
	reading.Go(func() { last, _ = a.holdersSoon(ctx, events.Filter{Address: addr}) }) // what is not known of the past is not told
	views, _, err := a.at(ctx, s, addr)
	reading.Wait()
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		f := api.Found{Kind: api.FoundAddress, Lease: &v, Last: past(last[v.Segment], v)}
		if (!v.State.Held() || v.State == survey.Conflict) && v.State != survey.HostsOwn && v.State != survey.Unusable {
			f.LAN = a.askLAN(ctx, s, addr, v.Segment)
			wants := func(k store.Kept) bool { return k.Address == addr && k.Segment == v.Segment }
			if f.Wants, err = a.wanted(ctx, wants); err != nil {
				return nil, err
			}
		}
		found = append(found, f)
	}
	return found, nil
}

// addLearnt tells of what this host's containers learnt: the address that was
// asked for, and beside a container's IPv6 address what else it has. Learnt
// addresses of other hosts' containers answer on the LAN, by a MAC that is known.
func (a Leases) addLearnt(ctx context.Context, found []api.Found) {
	var learnt map[string][]netip.Prefix // by endpoint
	host := api.CallNodes(a.Roster.Names())(a.Roster.Self)
	for i := range found {
		l := found[i].Lease
		if l == nil || !l.Address.Is6() || a.Learnt == nil {
			continue
		}
		if learnt == nil {
			learnt = a.Learnt(ctx)
		}
		for _, endpoint := range slices.Sorted(maps.Keys(learnt)) {
			for _, p := range learnt[endpoint] {
				if endpoint == l.Endpoint || p.Addr() == l.Address {
					found[i].Learnt = append(found[i].Learnt, api.Learnt{Address: p.Addr(), Container: a.containerOf(endpoint), Host: host})
				}
			}
		}
	}
}

// containerOf names an endpoint's container, by its id where it has no name yet.
func (a Leases) containerOf(endpoint string) string {
	for _, e := range a.endpointsWhere(func(e store.Endpoint) bool { return e.Endpoint == endpoint }) {
		if e.Container.Name != "" {
			return e.Container.Name
		}
	}
	return visible.ID(endpoint)
}

// holdersSoon is holders within the time that etcd may take for a look.
func (a Leases) holdersSoon(ctx context.Context, f events.Filter) (map[string][]api.Holder, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	return a.holders(ctx, f)
}

// askLAN asks who has an address at this host's parents of the networks of a
// segment that have it; where no network does, at the interfaces of this host
// whose own subnets do.
func (a Leases) askLAN(ctx context.Context, s *survey.Survey, addr netip.Addr, segment string) *api.LANAnswer {
	heard := &api.LANAnswer{At: []string{}, Answers: []api.MetAt{}}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, parent := range a.parentsFor(s, addr, segment) {
		asking.Go(func() {
			answers, err := a.Answers(ctx, parent, []netip.Addr{addr})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				heard.Failed = append(heard.Failed, err.Error())
				return
			}
			heard.At = append(heard.At, parent)
			for _, mac := range answers[addr] {
				heard.Answers = append(heard.Answers, api.MetAt{Address: addr, MAC: mac.String(), Parent: parent})
			}
		})
	}
	asking.Wait()
	slices.Sort(heard.At)
	slices.Sort(heard.Failed)
	slices.SortFunc(heard.Answers, func(x, y api.MetAt) int { return cmp.Or(cmp.Compare(x.Parent, y.Parent), cmp.Compare(x.MAC, y.MAC)) })
	called := api.CallNodes(a.Roster.Names())
	for i := range heard.Answers {
		ours := a.endpointsWhere(func(e store.Endpoint) bool { return e.MAC == heard.Answers[i].MAC })
		if len(ours) == 0 {
			continue
		}
		// A MAC that somebody chose (--mac-address) may be one of another segment too.
		of := max(0, slices.IndexFunc(ours, func(e store.Endpoint) bool { return e.Segment == segment }))
		heard.Answers[i].Of = cmp.Or(ours[of].Container.Name, "an endpoint") + " on " + called(ours[of].Node)
	}
	return heard
}

// parentsFor are the interfaces of this host at which an address may be heard of.
func (a Leases) parentsFor(s *survey.Survey, addr netip.Addr, segment string) (all []string) {
	self := a.Roster.Directory.Known().Nodes[a.Roster.Self].Description
	holding := s.Networks.Holding(addr)
	for _, sub := range holding {
		n := sub.Network
		for _, fares := range self.Networks {
			if n.Segment == segment && fares.UUID == n.UUID && (n.Node == "" || n.Node == a.Roster.Self) && fares.Parent != "" {
				all = append(all, fares.Parent)
			}
		}
	}
	if len(holding) == 0 {
		for _, i := range self.Interfaces {
			own := func(text string) bool {
				p, err := netip.ParsePrefix(text)
				return err == nil && p.Masked().Contains(addr)
			}
			if i.Up && slices.ContainsFunc(i.Addresses, own) {
				all = append(all, i.Name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// endpointsWhere are the containers' attachments that fit, in the order of their
// keys, as far as this host follows them.
func (a Leases) endpointsWhere(fits func(store.Endpoint) bool) (all []store.Endpoint) {
	var keys []string
	rows := map[string]store.Endpoint{}
	a.Records.Endpoints.Each(func(row store.Row[store.Endpoint]) {
		if fits(row.Record) {
			keys = append(keys, row.Key)
			rows[row.Key] = row.Record
		}
	})
	slices.Sort(keys)
	for _, key := range keys {
		all = append(all, rows[key])
	}
	return all
}

// found makes what a whois tells of attachments.
func (a Leases) found(s *survey.Survey, endpoints []store.Endpoint) (all []api.Found) {
	view, known := a.viewer(), a.Roster.Directory.Known()
	for _, e := range endpoints {
		for _, at := range s.Of(e) {
			v := view(at)
			if !known.Fresh {
				v.AsOf = known.Heard
			}
			all = append(all, api.Found{Kind: api.FoundAddress, Lease: &v})
		}
	}
	return all
}

// reserved tells of the reservations that fit; none where there is none.
func (a Leases) reserved(s *survey.Survey, fits func(reserve.Reservation) bool) (all []api.Found) {
	called := api.CallNodes(a.Roster.Names())
	for _, r := range s.Reservations {
		if !fits(r) {
			continue
		}
		one := api.Reserved{Address: r.At.Addr, Network: r.Name, For: r.For, MAC: r.MAC, Note: r.Note}
		for _, e := range a.endpointsWhere(func(e store.Endpoint) bool {
			return e.Segment == r.At.Segment && slices.Contains(e.Addresses(), r.At.Addr)
		}) {
			one.Container, one.Host = e.Container.Name, called(e.Node)
		}
		all = append(all, api.Found{Kind: api.FoundReserved, Reserved: &one})
	}
	return all
}

// whoisMAC finds the containers with a hardware address, else where this host
// has met it, and who had it lately; and what is reserved with it.
func (a Leases) whoisMAC(ctx context.Context, s *survey.Survey, mac string) ([]api.Found, error) {
	found, err := a.metMAC(ctx, s, mac)
	return append(found, a.reserved(s, func(r reserve.Reservation) bool { return r.MAC == mac })...), err
}

func (a Leases) metMAC(ctx context.Context, s *survey.Survey, mac string) ([]api.Found, error) {
	if ours := a.endpointsWhere(func(e store.Endpoint) bool { return e.MAC == mac }); len(ours) > 0 {
		return a.found(s, ours), nil
	}
	f := api.Found{Kind: api.FoundMAC, MAC: mac}
	raw, _ := net.ParseMAC(mac) // it was one
	for _, ifname := range a.interfaces() {
		met, err := a.Neighbours(ifname)
		if err != nil {
			continue // an interface that is gone, or is made when a container needs it
		}
		for _, n := range met {
			if bytes.Equal(n.MAC, raw) {
				f.Met = append(f.Met, api.MetAt{Address: n.Address, MAC: mac, Parent: ifname})
			}
		}
	}
	slices.SortFunc(f.Met, func(x, y api.MetAt) int { return cmp.Or(cmp.Compare(x.Parent, y.Parent), x.Address.Compare(y.Address)) })
	f.Last = a.lastOf(ctx, events.Filter{MAC: mac})
	if len(f.Met) == 0 && len(f.Last) == 0 {
		return nil, nil
	}
	return []api.Found{f}, nil
}

// lastOf are the last holdings that fit, of all segments; none while nobody knows.
func (a Leases) lastOf(ctx context.Context, f events.Filter) (last []api.Holder) {
	all, err := a.holdersSoon(ctx, f)
	if err != nil {
		return nil
	}
	for _, segment := range slices.Sorted(maps.Keys(all)) {
		last = append(last, all[segment]...)
	}
	return last[:min(len(last), holdersTold)]
}

// interfaces are those of this host at which it meets others: its networks'
// parents, and those with addresses.
func (a Leases) interfaces() (all []string) {
	self := a.Roster.Directory.Known().Nodes[a.Roster.Self].Description
	for _, n := range self.Networks {
		if n.Parent != "" {
			all = append(all, n.Parent)
		}
	}
	for _, i := range self.Interfaces {
		if i.Up && len(i.Addresses) > 0 {
			all = append(all, i.Name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// shortestID is how much of a container's id it has to be called by at least.
const shortestID = 4

// whoisName finds the containers of a name or id, on all hosts, what is reserved for
// one of that name, and the host and the network that are called so; where there is no such container, whose name in
// the DNS it is, and what a stopped one had.
func (a Leases) whoisName(ctx context.Context, s *survey.Survey, name string) (found []api.Found, near []string, err error) {
	if name == "" {
		return nil, nil, api.Refuse(errors.New("give an address, a MAC address, or a name of a container, host or network"))
	}
	running := a.endpointsWhere(func(e store.Endpoint) bool {
		return e.Container.Name == name || len(name) >= shortestID && strings.HasPrefix(e.Container.ID, name)
	})
	found = a.found(s, running)
	if len(running) == 0 {
		found = append(found, a.named(s, name)...)
	}
	if len(found) == 0 {
		stopped, err := a.stopped(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, stopped...)
	}
	found = append(found, a.reserved(s, func(r reserve.Reservation) bool { return r.For == name })...)
	found = append(found, a.hostsCalled(name)...)
	for _, n := range s.Networks.Named(name) {
		found = append(found, a.networkFound(n))
	}
	if len(found) == 0 {
		near = a.near(s, name)
	}
	return found, near, nil
}

// named finds the containers that have a name in the DNS.
func (a Leases) named(s *survey.Survey, name string) []api.Found {
	stands := a.Zone.Called(name)
	if len(stands) == 0 {
		return nil
	}
	return a.found(s, a.endpointsWhere(func(e store.Endpoint) bool {
		return slices.ContainsFunc(e.Addresses(), func(addr netip.Addr) bool {
			return slices.Contains(stands, zone.Stand{Network: e.Network, Address: addr})
		})
	}))
}

// stopped tells of a container that has no address now: of those it will want
// again, and of those it had lately.
func (a Leases) stopped(ctx context.Context, name string) ([]api.Found, error) {
	wants, err := a.wanted(ctx, func(k store.Kept) bool { return k.Name == name })
	if err != nil {
		return nil, err
	}
	f := api.Found{Kind: api.FoundContainer, Container: name, Wants: wants, Last: a.lastOf(ctx, events.Filter{Container: name})}
	if len(f.Wants) == 0 && len(f.Last) == 0 {
		return nil, nil
	}
	return []api.Found{f}, nil
}

// wanted are the addresses of stopped containers that fit; none while etcd does
// not answer.
func (a Leases) wanted(ctx context.Context, fits func(store.Kept) bool) (all []api.Wanted, err error) {
	kept, err := a.kept(ctx, fits)
	called := api.CallNodes(a.Roster.Names())
	for _, k := range kept {
		all = append(all, api.Wanted{Address: k.Address, Container: k.Name, Removed: k.Gone, Network: k.network, Host: called(k.node)})
	}
	return all, err
}

// keptFor is an address that a stopped container of a node will want again, or the
// next one of a removed one's name.
type keptFor struct {
	store.Kept
	node    string
	network string // by name; "" of one that is gone
}

// kept are those that fit; none while etcd does not answer.
func (a Leases) kept(ctx context.Context, fits func(store.Kept) bool) (all []keptFor, err error) {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	items, _, err := a.KV.List(ctx, store.RefsSpan())
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		return nil, fmt.Errorf("read which containers are stopped: %w", err)
	}
	networks, _ := mirrored(a.Records.Networks)
	for _, it := range items {
		refs, err := store.Decode[store.Refs](it)
		if err != nil {
			continue
		}
		for _, k := range refs.Kept {
			if !fits(k) {
				continue
			}
			one := keptFor{Kept: k, node: store.NameOf(it.Key)}
			for _, n := range networks {
				if n.UUID == k.Network {
					one.network = n.Name
				}
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// hostsCalled finds the host of that name, or with that node; all of them where
// several are called so.
func (a Leases) hostsCalled(name string) (found []api.Found) {
	rows := a.Roster.Rows()
	nodes, err := api.NodesCalled(namesOf(rows), name)
	called := api.CallNodes(namesOf(rows))
	for _, row := range rows {
		agents := nodes
		switch {
		case err != nil && row.Store.Description.Host == name: // one of several
			agents = []string{row.Node}
		case err != nil || row.Node != nodes[0]:
			continue
		}
		found = append(found, api.Found{Kind: api.FoundHost, Host: &api.FoundOnHost{
			Node: row.Node, Host: called(row.Node), Address: row.Store.Description.Address, State: string(row.State),
			Containers: a.containers(func(e store.Endpoint) bool { return slices.Contains(agents, e.Node) }),
		}})
	}
	return found
}

// containers counts those whose attachments fit.
func (a Leases) containers(fits func(store.Endpoint) bool) int {
	all := map[string]bool{}
	a.Records.Endpoints.Each(func(row store.Row[store.Endpoint]) {
		if fits(row.Record) {
			all[cmp.Or(row.Record.Container.ID, row.Record.Endpoint)] = true
		}
	})
	return len(all)
}

func (a Leases) networkFound(n *survey.Network) api.Found {
	f := api.FoundInStore{Name: n.Name, UUID: n.UUID, Subnets: []string{}}
	if n.Node != "" {
		f.Node = api.CallNodes(a.Roster.Names())(n.Node)
	}
	for _, sub := range n.Subnets {
		f.Subnets = append(f.Subnets, sub.Pool.Subnet.String())
	}
	f.Containers = a.containers(func(e store.Endpoint) bool { return e.Network == n.UUID && (n.Node == "" || e.Node == n.Node) })
	return api.Found{Kind: api.FoundNetwork, Network: &f}
}

// near are the names there are that are most like one that nothing has.
func (a Leases) near(s *survey.Survey, name string) []string {
	var known []string
	a.Records.Endpoints.Each(func(row store.Row[store.Endpoint]) { known = append(known, row.Record.Container.Name) })
	for _, n := range s.Networks.All() {
		known = append(known, n.Name)
	}
	for _, n := range a.Roster.Names() {
		known = append(known, n.Host)
	}
	if best := pool.Nearest(name, known); best != "" {
		return []string{best}
	}
	return nil
}
