package hostroute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/route"
	"gvlan/driver/trouble"
)

// Routes keeps the routes of this host to other hosts' containers.
type Routes struct {
	*host.Host
	Failures trouble.Findings // what does not work

	began time.Time
	blank bool // the journal knew no network then: it was lost, or is new

	// Of Keep alone.
	store told        // what the store said when it was last to be gone by
	made  route.State // by the last look
	whole time.Time   // of the last look that went by what the kernel has; zero: by none
	// touched is set when somebody changed what is there, or may have.
	touched atomic.Bool

	mu     sync.Mutex
	listed []Listed
}

// New keeps nothing yet.
func New(h *host.Host) *Routes {
	return &Routes{Host: h, began: h.Now(), blank: len(h.Memory.Networks()) == 0}
}

// told is what the cluster's records say of other nodes.
type told struct {
	heard   bool // they were all there once
	located []Located
	nodes   map[string]store.Node
}

// speakAlone is how long after a start the store is waited for before routers are told
// of this host's containers one by one: they keep what an earlier life told them for
// some minutes only.
const speakAlone = 30 * time.Second

// untilLearned is how long after a start routers are given to tell again what they told
// before it: as long as they keep what this host told.
const untilLearned = 120 * time.Second

// Listed is a route for people.
type Listed struct {
	Way
	Since time.Time
	Wrong string // why it is not there; "" where it is
}

// List copies what there should be, in the order of destinations within networks.
func (r *Routes) List() []Listed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.listed)
}

// gather lets a burst of changes pass before one look at them all; a look that takes
// long is followed by a rest ten times that.
const (
	gather     = 20 * time.Millisecond
	longestGap = 2 * time.Second
)

// Keep brings the routes into line whenever an endpoint of any node comes or goes, or
// this host's links, addresses or routes of ours change, until ctx ends. What was made
// stays then: the LAN goes on while an agent is started again.
func (r *Routes) Keep(ctx context.Context) error {
	if r.Cfg.Routes == nil {
		return nil
	}
	watching := route.NewWatching(r.Cfg.Routes.Watch, func() {
		r.touched.Store(true)
		host.Tell(r.Ways)
	})
	defer watching.Close()
	for {
		began := time.Now()
		wanted := r.look(ctx)
		watching.Want(ctx, wanted)
		if !store.Sleep(ctx, min(max(gather, 10*time.Since(began)), longestGap)) {
			return nil
		}
		resync := time.NewTimer(host.ResyncEvery)
		select {
		case <-ctx.Done():
		case err := <-watching.Ended():
			if ctx.Err() == nil {
				resync.Stop()
				return err
			}
		case <-r.Ways:
		case <-resync.C:
		}
		resync.Stop()
	}
}

// look brings everything into line once, and reports whether any network, or a router,
// gives this host anything to do.
func (r *Routes) look(ctx context.Context) (wanted bool) {
	if r.idle() {
		return false
	}
	v, err := r.view(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.tell(map[string]error{"": err})
		}
		return true
	}
	if len(v.Networks) > 0 && !r.store.heard || r.adopts() { // what is there is left until it is known who else is
		if v.Speaks && len(v.Networks) > 0 && r.Now().Sub(r.began) >= speakAlone {
			r.Cfg.Speaker.Announce(v.alone().Announce)
		}
		return true
	}
	plan := Desire(v)
	refused := r.apply(ctx, plan.Routes())
	if ctx.Err() != nil {
		return true
	}
	of := make(map[netip.Prefix]string, len(plan.Ways))
	for _, w := range plan.Ways {
		of[w.Dst] = w.Network
	}
	wrong, each := map[netip.Prefix]string{}, map[string][]error{}
	for _, one := range refused {
		var way *route.Refused
		var network string
		if errors.As(one, &way) {
			network, wrong[way.To] = of[way.To], way.Error()
		}
		each[network] = append(each[network], one)
	}
	faults := maps.Clone(plan.Lacks)
	for network, failed := range each {
		faults[network] = errors.Join(append(route.Each(faults[network]), failed...)...)
	}
	if r.Cfg.Speaker != nil {
		r.Cfg.Speaker.Announce(plan.Announce)
	}
	r.list(plan, wrong)
	r.tell(faults)
	return len(v.Networks) > 0 || len(plan.Ways) > 0 || len(refused) > 0
}

// idle reports whether there is nothing to look at: no network routes, no router is
// spoken with, and nothing is left of when that was otherwise. Every container of the
// cluster that comes or goes would cost a look.
func (r *Routes) idle() bool {
	routes := func(n journal.Network) bool {
		on, _ := n.RoutesHosts(r.Cfg.Defaults)
		return on
	}
	return r.Cfg.Speaker == nil && !r.whole.IsZero() && len(r.made.Routes) == 0 && !slices.ContainsFunc(r.Memory.Networks(), routes)
}

// apply makes the kernel's routes what is wanted: by what differs from the last look,
// and by all that the kernel has where that may be another.
func (r *Routes) apply(ctx context.Context, want route.State) []error {
	if r.touched.Swap(false) || r.whole.IsZero() || r.Now().Sub(r.whole) >= host.ResyncEvery {
		r.whole = time.Time{}
	}
	var err error
	if r.whole.IsZero() {
		var owned error
		var shims map[string]bool
		// Those are host access's, which may make one at any time: that they are listed
		// after the routes keeps those of the newest.
		reach := func(link string) bool {
			if shims == nil && owned == nil {
				shims, owned = r.shims(ctx)
			}
			return owned == nil && !shims[link]
		}
		err = r.Cfg.Routes.Set(ctx, reach, want)
		if owned != nil {
			err = errors.Join(append(route.Each(err), owned)...)
		}
	} else {
		err = r.Cfg.Routes.Change(ctx, r.made, want)
	}
	r.made = want
	if err == nil && r.whole.IsZero() {
		r.whole = r.Now()
	}
	if err != nil {
		r.whole = time.Time{} // what was refused is tried with the next look
	}
	return route.Each(err)
}

// shims are the links of ours that host access leaves by.
func (r *Routes) shims(ctx context.Context) (map[string]bool, error) {
	owned, err := r.Cfg.Links.Owned(ctx)
	if err != nil {
		return nil, err
	}
	shims := map[string]bool{}
	for _, l := range owned {
		shims[l.Name] = l.Shim
	}
	return shims, nil
}

// view looks at the records, as long as they are to be gone by, and at this host.
func (r *Routes) view(ctx context.Context) (v View, err error) {
	v = View{
		Node: r.Self.Node(), Defaults: r.Cfg.Defaults, Table: r.Cfg.RoutesTable,
		Drained: r.Cfg.Drained != nil && r.Cfg.Drained(), Speaks: r.Cfg.Speaker != nil,
	}
	have, err := r.Parents.Inventory(ctx)
	if err != nil {
		return v, err
	}
	routed := map[string]bool{}
	for _, n := range r.Memory.Networks() {
		routes, _ := n.RoutesHosts(v.Defaults)
		of := Network{Network: n, Blocks: map[netip.Prefix]int{}}
		if !routes && !(v.Speaks && of.announced()) {
			continue
		}
		routed[n.UUID] = true
		of.Parent, _ = r.Parents.StandingIn(have, n) // its containers' starts tell why there is none
		for _, p := range n.Pools {
			if bits, dealt := journal.BlockIn(r.Memory, n.ID, p.Subnet); dealt {
				of.Blocks[p.Subnet] = bits
			}
		}
		v.Networks = append(v.Networks, of)
		v.Located = append(v.Located, r.own(n)...)
	}
	slices.SortFunc(v.Networks, func(a, b Network) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	if r.Self.Trusted() == nil {
		r.hear(routed)
	}
	v.Located, v.Nodes = append(v.Located, r.store.located...), r.store.nodes
	if v.Learned, err = r.learned(ctx); err != nil {
		return v, err
	}
	v.Own, err = r.Cfg.Routes.Addresses(ctx)
	return v, err
}

// learned is what routers told, and for a while after a start what they told an earlier
// life of the agent: sessions take their time, and the routes lead on meanwhile
// (RFC 4724, 4.1).
func (r *Routes) learned(ctx context.Context) (ways []route.Route, err error) {
	if r.Cfg.Speaker == nil {
		return nil, nil
	}
	ways = r.Cfg.Speaker.Learned()
	if len(r.Cfg.Import) == 0 || r.Now().Sub(r.began) >= untilLearned {
		return ways, nil
	}
	ours, err := r.Cfg.Routes.Ours(ctx)
	if err != nil {
		return nil, err
	}
	for _, had := range ours.Routes {
		inside := slices.ContainsFunc(r.Cfg.Import, func(p netip.Prefix) bool { return p.Contains(had.Dst.Addr()) && p.Bits() <= had.Dst.Bits() })
		if inside && had.Via.IsValid() && had.Table == r.Cfg.RoutesTable {
			ways = append(ways, route.Route{Dst: had.Dst, Via: had.Via})
		}
	}
	return ways, nil
}

// own are the addresses of this host's containers of a network: it knows of them
// before and longer than the store does.
func (r *Routes) own(n journal.Network) (all []Located) {
	for _, e := range r.Memory.EndpointsOf(n.ID) {
		for _, addr := range journal.AddressesOf(r.Memory, e) {
			all = append(all, Located{addr, r.Self.Node(), n.UUID, e.Parent, e.Since / int64(time.Second/time.Millisecond)})
		}
	}
	return all
}

// adopts reports whether an agent without a journal may still find networks that the
// cluster has on its engine: what an earlier life made for them is left until the store
// is heard, and until they are found, within as long as it would be waited for.
func (r *Routes) adopts() (lacks bool) {
	if !r.blank || r.store.heard && r.Now().Sub(r.began) >= speakAlone {
		return false
	}
	if !r.store.heard || !r.Tables.Networks.Listed() {
		return true
	}
	known := map[string]bool{}
	for _, n := range r.Memory.Networks() {
		known[n.UUID] = true
	}
	r.Tables.Networks.Each(func(row store.Row[store.Network]) {
		lacks = lacks || row.Record.Scope != store.ScopeSwarm && !known[row.Record.UUID]
	})
	return lacks
}

// hear takes the records of networks with routes, where the tables are whole.
func (r *Routes) hear(routed map[string]bool) {
	if !r.Tables.Endpoints.Listed() || !r.Tables.Nodes.Listed() {
		return
	}
	now := told{heard: true, nodes: map[string]store.Node{}}
	r.Tables.Endpoints.Each(func(row store.Row[store.Endpoint]) {
		e := row.Record
		if !routed[e.Network] || e.Node == r.Self.Node() {
			return
		}
		for _, addr := range e.Addresses() {
			now.located = append(now.located, Located{addr, e.Node, e.Network, e.Parent, e.Since})
		}
	})
	r.Tables.Nodes.Each(func(row store.Row[store.Node]) { now.nodes[row.Record.Node] = row.Record })
	r.store = now
}

// list keeps what people are told, each route since it is what it is.
func (r *Routes) list(plan Plan, wrong map[netip.Prefix]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := make(map[Way]time.Time, len(r.listed))
	for _, l := range r.listed {
		if l.Wrong == "" {
			since[l.Way] = l.Since
		}
	}
	r.listed = nil
	for _, w := range plan.Ways {
		l := Listed{Way: w, Since: since[w], Wrong: wrong[w.Dst]}
		if l.Since.IsZero() {
			l.Since = r.Now()
		}
		r.listed = append(r.listed, l)
	}
}

// tell says what fails.
func (r *Routes) tell(faults map[string]error) {
	var failed []string
	for _, network := range slices.Sorted(maps.Keys(faults)) {
		of := ""
		if n, ok := r.Memory.Network(network); ok {
			of = " of network " + n.Title()
		}
		failed = append(failed, fmt.Sprintf("routes to containers%s on other hosts are not on %s as they should be: %s", of, r.Cfg.Host(), sentence(faults[network])))
	}
	r.Failures.Replace(failed, r.Now(), r.Log, slog.LevelWarn)
}

// told of are so many faults of one network, and how many more there are.
const toldOf = 3

func sentence(err error) string {
	var all []string
	each := route.Each(err)
	for _, one := range each[:min(toldOf, len(each))] {
		all = append(all, strings.ReplaceAll(one.Error(), "\n", "; "))
	}
	if more := len(each) - toldOf; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}
