package answer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/dns/zone"
	"gvlan/driver/link"
	"gvlan/driver/visible"
	"gvlan/ipam"
	"gvlan/ipam/evict"
	"gvlan/ipam/pool"
	"gvlan/ipam/reserve"
	"gvlan/ipam/survey"
)

// Leases answers the commands about addresses.
type Leases struct {
	Roster    Roster
	Records   *Records
	KV        store.KV
	Conflicts func() []ipam.Conflict
	// Reservations are what operators reserve, as far as this host knows.
	Reservations func() []reserve.Reservation
	Holds        func(pool.Place) bool        // this host's memory has an address
	Called       func(endpoint string) string // container of an endpoint of this host
	Zone         *zone.Zone
	Events       events.Teller
	// Answers and Neighbours ask the LAN and the kernel at an interface of this
	// host.
	Answers    func(ctx context.Context, ifname string, addrs []netip.Addr) (map[netip.Addr][]net.HardwareAddr, error)
	Neighbours func(ifname string) ([]link.Neighbour, error)
	// Learnt are the addresses that containers of this host made of router
	// advertisements, by endpoint; nil where nobody looks.
	Learnt func(ctx context.Context) map[string][]netip.Prefix
}

// Register adds the routes of the commands about addresses to the server.
func (a Leases) Register(server *api.Server) {
	server.Stream("GET "+api.LeasesRoute, a.list)
	server.Handle("GET "+api.LeaseRoute, a.show)
	server.Handle("DELETE "+api.LeaseRoute, a.release)
	server.Handle("GET "+api.WhoisRoute, a.whois)
	server.Handle("GET "+api.PoolsRoute, a.pools)
}

// survey is what is known of everything but who has which address.
func (a Leases) survey(ctx context.Context) (*survey.Survey, error) {
	definitions, known := mirrored(a.Records.Networks)
	if !known {
		var err error
		if definitions, err = store.All[store.Network](ctx, a.KV, store.NetworksSpan()); err != nil {
			return nil, err
		}
	}
	s := &survey.Survey{Hosts: map[netip.Addr]string{}, Endpoint: a.endpoint, Conflicts: map[pool.Place]string{}, Reservations: a.Reservations()}
	called := api.CallNodes(a.Roster.Names())
	var nodes []store.Node
	for name, node := range a.Roster.Directory.Known().Nodes {
		if !node.Registered {
			continue
		}
		nodes = append(nodes, node.Description)
		for addr := range node.Description.HostAddresses() {
			s.Hosts[addr] = called(name)
		}
	}
	slices.SortFunc(nodes, func(a, b store.Node) int { return strings.Compare(a.Node, b.Node) })
	s.Networks = survey.NewNetworks(definitions, nodes)
	for _, c := range a.Conflicts() {
		who := "a network of this host keeps it"
		if c.Endpoint != "" {
			who = a.Called(c.Endpoint) + " on this host has it"
		}
		s.Conflicts[pool.At(c.Segment, c.Address)] = who + ", and it is " + c.Holder
	}
	return s, nil
}

// claimed has a survey say of addresses that somebody on the LAN uses them besides
// the container that has them by right, whichever host has seen it.
func (a Leases) claimed(ctx context.Context, s *survey.Survey) error {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	items, _, err := a.KV.List(ctx, store.ConflictsSpan())
	if err != nil {
		return fmt.Errorf("read which addresses are in conflict: %w", err)
	}
	called := api.CallNodes(a.Roster.Names())
	for _, it := range items {
		c, err := store.Decode[store.Conflict](it)
		if err != nil || c.Endpoint == "" { // a newer gvlan wrote it; or nobody has it by right
			continue
		}
		at := pool.At(c.Segment, c.Address)
		if _, told := s.Conflicts[at]; !told {
			s.Conflicts[at] = fmt.Sprintf("MAC %s on the LAN uses it too, seen by host %s", c.MAC, called(c.Node))
		}
	}
	return nil
}

// endpoint is a container's attachment, as far as this host follows them.
func (a Leases) endpoint(node, id string) (store.Endpoint, bool) {
	row, found := a.Records.Endpoints.Row(store.EndpointKey(node, id))
	return row.Record, found
}

// viewer returns what makes views of addresses.
func (a Leases) viewer() func(survey.Entry) api.LeaseView {
	called := api.CallNodes(a.Roster.Names())
	return func(at survey.Entry) api.LeaseView {
		v := api.LeaseView{Entry: at}
		if at.Node != "" {
			v.Host = called(at.Node)
		}
		return v
	}
}

// list tells of every address that has a record, or while etcd does not answer,
// that had a container when it last did: in pages, and an empty one at the end.
func (a Leases) list(r *http.Request, tell func(any) error) error {
	s, err := a.survey(r.Context())
	if err != nil {
		return err
	}
	keeps, err := a.filter(s, r.URL.Query().Get("network"), r.URL.Query().Get("node"))
	if err != nil {
		return err
	}
	pages := pages{tell: tell}
	view := a.viewer()
	kv, end := a.promptly(r.Context())
	defer end()
	err = s.Each(r.Context(), kv, store.AllLeasesSpan(), func(at survey.Entry) error {
		if !keeps(at) {
			return nil
		}
		return pages.add(view(listed(at)))
	})
	if errors.Is(err, store.ErrUnavailable) && !pages.told {
		last, known := a.lastKnown(s)
		if !known {
			return err
		}
		pages.views, err = nil, nil
		for _, at := range last {
			if v := view(listed(at)); err == nil && keeps(at) {
				v.AsOf = a.Roster.Directory.Known().Heard
				err = pages.add(v)
			}
		}
	}
	if err != nil {
		return err
	}
	return pages.end()
}

// prompt is a store that has to begin an answer within etcdAnswer of its making:
// how long the answer is then does not matter.
type prompt struct {
	kv    store.KV
	ctx   context.Context
	timer *time.Timer
}

// promptly makes one of calls that end with ctx; end ends them.
func (a Leases) promptly(ctx context.Context) (p prompt, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	p = prompt{a.KV, ctx, time.AfterFunc(etcdAnswer, cancel)}
	return p, func() {
		p.timer.Stop()
		cancel()
	}
}

// Scan implements survey.Scanner.
func (p prompt) Scan(_ context.Context, span store.Span, parts store.Parts, page func([]store.Item) error) (store.Revision, error) {
	return p.kv.Scan(p.ctx, span, parts, func(items []store.Item) error {
		p.timer.Stop()
		return page(items)
	})
}

// pages are a list of leases that is told in pages.
type pages struct {
	tell  func(any) error
	views []api.LeaseView // the next page
	told  bool            // there was one already
}

func (p *pages) add(v api.LeaseView) error {
	if p.views = append(p.views, v); len(p.views) < api.LeasePage {
		return nil
	}
	return p.flush()
}

func (p *pages) flush() error {
	err := p.tell(p.views)
	p.views, p.told = p.views[:0], true
	return err
}

func (p *pages) end() error {
	if len(p.views) > 0 {
		if err := p.flush(); err != nil {
			return err
		}
	}
	return p.tell([]api.LeaseView{})
}

// listed is an address as a list has it, of very many: with ids as Docker's lists
// have them, and without what `lease show` is for.
func listed(at survey.Entry) survey.Entry {
	at.ContainerID, at.Endpoint = visible.ID(at.ContainerID), visible.ID(at.Endpoint)
	if at.Key = ""; at.Network != "" {
		at.NetworkID = ""
	}
	return at
}

// filter keeps the addresses of a network and of a host, where those are given.
func (a Leases) filter(s *survey.Survey, network, node string) (func(survey.Entry) bool, error) {
	var nodes []string
	if node != "" {
		var err error
		if nodes, err = api.NodesCalled(a.Roster.Names(), node); err != nil {
			return nil, err
		}
	}
	if network != "" && len(s.Networks.Named(network)) == 0 {
		return nil, api.Missing(fmt.Errorf("no such network: %s (gvlan network ls lists them)", network))
	}
	return func(at survey.Entry) bool {
		return (network == "" || slices.Contains(strings.Split(at.Network, ", "), network)) && (node == "" || slices.Contains(nodes, at.Node))
	}, nil
}

// lastKnown are the addresses that containers had when etcd last answered.
func (a Leases) lastKnown(s *survey.Survey) (all []survey.Entry, known bool) {
	endpoints, known := mirrored(a.Records.Endpoints)
	for _, e := range endpoints {
		all = append(all, s.Of(e)...)
	}
	slices.SortStableFunc(all, func(x, y survey.Entry) int { return strings.Compare(x.Place().Key(), y.Place().Key()) })
	return all, known && !a.Roster.Directory.Known().Heard.IsZero()
}

// aged says of views that etcd said so last.
func (a Leases) aged(views []api.LeaseView) []api.LeaseView {
	for i := range views {
		views[i].AsOf = a.Roster.Directory.Known().Heard
	}
	return views
}

func (a Leases) show(r *http.Request) (any, error) {
	query := r.URL.Query()
	addr, err := addressIn(query.Get("address"))
	if err != nil {
		return nil, err
	}
	s, err := a.survey(r.Context())
	if err != nil {
		return nil, err
	}
	keeps, err := a.filter(s, query.Get("network"), "")
	if err != nil {
		return nil, err
	}
	all, stale, err := a.at(r.Context(), s, addr)
	if err != nil {
		return nil, err
	}
	last := map[string][]api.Holder{}
	if !stale {
		last, _ = a.holdersSoon(r.Context(), events.Filter{Address: addr}) // what is not known of the past is not told
	}
	details := []api.LeaseDetail{}
	for _, v := range all {
		if segment := query.Get("segment"); !keeps(v.Entry) || segment != "" && segment != v.Segment {
			continue
		}
		detail := api.LeaseDetail{LeaseView: v, Last: past(last[v.Segment], v)}
		if v.Key != "" && !stale {
			if detail.Record, err = a.record(r.Context(), v); err != nil {
				return nil, err
			}
		}
		details = append(details, detail)
	}
	return details, nil
}

// record is what the store has of an address; nil where it cannot be read, or
// was deleted a moment ago.
func (a Leases) record(ctx context.Context, v api.LeaseView) (*store.Lease, error) {
	it, err := a.KV.Get(ctx, v.Key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if rec, err := store.Decode[store.Lease](it); err == nil {
		return &rec, nil
	}
	return nil, nil
}

// at tells of one address in each segment; stale while etcd does not answer.
func (a Leases) at(ctx context.Context, s *survey.Survey, addr netip.Addr) (views []api.LeaseView, stale bool, err error) {
	asking, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	fresh := *s
	fresh.Endpoint = func(node, id string) (store.Endpoint, bool) { return a.endpointNow(asking, node, id) }
	var all []survey.Entry
	if err = a.claimed(asking, s); err == nil {
		all, err = fresh.At(asking, a.KV, addr)
	}
	if errors.Is(err, store.ErrUnavailable) {
		last, known := a.lastKnown(s)
		if !known {
			return nil, true, err
		}
		all = s.Without(addr, slices.DeleteFunc(last, func(at survey.Entry) bool { return at.Address != addr }))
		stale, err = true, nil
	}
	if err != nil {
		return nil, false, err
	}
	view := a.viewer()
	for _, at := range all {
		if stale && at.State == survey.Free && at.Why == "" {
			at.Why = "no container had it when etcd last answered"
		}
		views = append(views, view(at))
	}
	if stale {
		views = a.aged(views)
	}
	return views, stale, nil
}

// endpointNow is endpoint, and asks the store for one that this host has not
// heard of yet.
func (a Leases) endpointNow(ctx context.Context, node, id string) (store.Endpoint, bool) {
	if e, known := a.endpoint(node, id); known {
		return e, true
	}
	it, err := a.KV.Get(ctx, store.EndpointKey(node, id))
	if err != nil {
		return store.Endpoint{}, false
	}
	e, err := store.Decode[store.Endpoint](it)
	return e, err == nil
}

// holders are the containers that had addresses, by segment, the last first.
func (a Leases) holders(ctx context.Context, f events.Filter) (map[string][]api.Holder, error) {
	f.Kinds = []events.Kind{events.Given, events.Released}
	told, err := events.Read(ctx, a.KV, f)
	if err != nil {
		return nil, err
	}
	called, all := api.CallNodes(a.Roster.Names()), map[string][]api.Holder{}
	for _, h := range events.Holdings(told) {
		all[h.Segment] = append(all[h.Segment], api.Holder{
			Address: h.Address, Container: h.Container, Network: h.Network, Node: h.Node, Host: called(h.Node), MAC: h.MAC, From: h.From, To: h.To,
		})
	}
	return all, nil
}

// holdersTold is how many containers that had an address people are told of.
const holdersTold = 5

// past are the holders before the one that a view shows.
func past(all []api.Holder, v api.LeaseView) []api.Holder {
	before := []api.Holder{}
	for _, h := range all {
		has := h.To.IsZero() && v.State.Held() && h.Node == v.Node
		if !has && len(before) < holdersTold {
			before = append(before, h)
		}
	}
	return before
}

func (a Leases) release(r *http.Request) (any, error) {
	query := r.URL.Query()
	addr, err := addressIn(query.Get("address"))
	if err != nil {
		return nil, err
	}
	revision, err := strconv.ParseInt(query.Get("revision"), 10, 64)
	if err != nil {
		return nil, api.Refuse(fmt.Errorf("read the revision of a lease: %w", err))
	}
	s, err := a.survey(r.Context())
	if err != nil {
		return nil, err
	}
	segment := query.Get("segment")
	release := evict.Release{
		KV: a.KV, Self: a.Roster.Self, Called: api.CallNodes(a.Roster.Names()), Events: a.Events,
		Holds: func(segment string, addr netip.Addr) bool { return a.Holds(pool.At(segment, addr)) },
		Network: func(called string) string {
			if n := s.Networks.Called(called); n != nil {
				return n.Name
			}
			return ""
		},
		Answers: func(ctx context.Context, addr netip.Addr) (who string, asked bool) {
			heard := a.askLAN(ctx, s, addr, segment)
			for _, answer := range heard.Answers {
				return answer.MAC + " at " + answer.Parent, true
			}
			return "", len(heard.At) > 0
		},
	}
	if err := release.Address(r.Context(), segment, addr, store.Revision(revision), query.Has("force")); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// addressIn reads an address that somebody typed.
func addressIn(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, api.Refuse(fmt.Errorf("%q is no address: write it like 192.168.1.20 or fd00::20", text))
	}
	return addr.Unmap(), nil
}

// lately is how far back it is looked for how fast a pool fills up; knownFor is
// what has to be known of it at least.
const (
	lately   = 24 * time.Hour
	knownFor = time.Hour
)

// pools counts the addresses of every subnet or, while etcd does not answer, those
// that containers had when it last did.
func (a Leases) pools(r *http.Request) (any, error) {
	s, err := a.survey(r.Context())
	if err != nil {
		return nil, err
	}
	kv, end := a.promptly(r.Context())
	defer end()
	reading, enough := context.WithCancel(r.Context())
	defer enough()
	told := make(chan []events.Event, 1)
	now := time.Now()
	go func() { // beside the leases: neither waits for the other
		f := events.Filter{Kinds: []events.Kind{events.Given, events.Released, events.HostCame, events.LeftOut}, Since: now.Add(-lately)}
		all, err := events.Read(reading, a.KV, f)
		if err != nil {
			all = nil // how fast they fill up is not known, then
		}
		told <- all
	}()
	counted, err := s.Pools(r.Context(), kv)
	if err != nil {
		enough()
	}
	happened := <-told
	var asOf time.Time
	if errors.Is(err, store.ErrUnavailable) {
		if last, known := a.lastKnown(s); known {
			counted, happened, asOf, err = s.PoolsOf(last), nil, a.Roster.Directory.Known().Heard, nil
		}
	}
	if err != nil {
		return nil, err
	}
	called, views := api.CallNodes(a.Roster.Names()), []api.PoolView{}
	for _, p := range counted {
		v := api.PoolView{Pool: p, ByHost: map[string]int{}, AsOf: asOf}
		if p.Node != "" {
			v.Host = called(p.Node)
		}
		for node, n := range p.ByNode {
			host := "swarm"
			if node != "" {
				host = called(node)
			}
			v.ByHost[host] += n
		}
		v.Grows, v.FullAt = growth(p, happened, now)
		views = append(views, v)
	}
	return views, nil
}

// growth is by how many addresses a day a pool grew lately, and when it is full if
// that goes on.
func growth(p survey.Pool, happened []events.Event, now time.Time) (aDay float64, full time.Time) {
	if len(happened) == 0 {
		return 0, time.Time{}
	}
	since, more := happened[0].Time, 0.0
	for _, e := range happened {
		switch {
		case e.Kind == events.LeftOut:
			since, more = e.Time, 0
		case e.Segment != p.Segment || !p.Subnet.Contains(e.Address) || p.Node != "" && e.Node != p.Node:
		case e.Kind == events.Given:
			more++
		case e.Kind == events.Released:
			more--
		}
	}
	span := now.Sub(since)
	if span < knownFor || more == 0 {
		return 0, time.Time{}
	}
	aDay = more / (span.Hours() / 24)
	const farthest = 10 * 365 // days
	if days := p.Free / aDay; aDay > 0 && days < farthest {
		full = now.Add(time.Duration(days * float64(24*time.Hour)))
	}
	return aDay, full
}
