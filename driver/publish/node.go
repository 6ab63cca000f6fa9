package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/description"
	"gvlan/cluster/store"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/parent"
	"gvlan/driver/plan"
	"gvlan/driver/trouble"
	"gvlan/parentfile"
)

// inheritance is what this node's own record told, before this life of the
// agent wrote it anew, of local networks that the journal does not know: the
// record is all there is of them beside the engine, which does not know what
// gvlan chose.
type inheritance struct {
	Mu     sync.Mutex
	read   bool
	Locals []store.NodeNetwork
}

// inherit reads the record, once, before it is written.
func (ps *Node) inherit(ctx context.Context) error {
	ps.Inherited.Mu.Lock()
	defer ps.Inherited.Mu.Unlock()
	if ps.Inherited.read {
		return nil
	}
	it, err := ps.Cfg.KV.Get(ctx, store.NodeKey(ps.Self.Node()))
	if errors.Is(err, store.ErrNotFound) {
		ps.Inherited.read = true
		return nil
	}
	if err != nil {
		return err
	}
	had, err := store.Decode[store.Node](it)
	if err != nil {
		return err
	}
	for _, n := range had.Networks {
		if _, known := ps.Memory.Network(n.Engine); !known && n.State == string(journal.StageLocal) && len(n.Pools) > 0 {
			ps.Inherited.Locals = append(ps.Inherited.Locals, n)
		}
	}
	ps.Inherited.read = true
	if len(ps.Inherited.Locals) > 0 {
		ps.Poke()
	}
	return nil
}

// left are the networks that are not taken back yet. The record keeps them:
// the agent may end before the engine lists them.
func (i *inheritance) left() []store.NodeNetwork {
	i.Mu.Lock()
	defer i.Mu.Unlock()
	return slices.Clone(i.Locals)
}

// Node is what this host tells of itself: interfaces, networks, references.
type Node struct {
	*host.Host
	Inherited inheritance
	Stopped   *stopped
	own       ownAddresses
}

// NewNode has told nothing yet.
func NewNode(h *host.Host) *Node { return &Node{Host: h, Stopped: newStopped(h.Addresses.Named)} }

// A description tells every network of the host, and a thousand may be made at
// once: each of them would have it written, and read by every other host, as a
// whole. So it rests for publishPause, and where it takes long to make for ten
// times that, up to publishPauseLongest.
const (
	publishPause        = 100 * time.Millisecond
	publishPauseLongest = 2 * time.Second
)

// PublishNode keeps this node's description in the store: what it is, which
// interfaces it has and who uses them, and how each network fares here. It is
// written on change and compared by nobody.
func (ps *Node) PublishNode(ctx context.Context) error {
	tick := time.NewTicker(host.ResyncEvery)
	defer tick.Stop()
	var last store.Node
	for {
		began := time.Now()
		node, err := ps.publish(ctx, last)
		last = node
		ps.Troubles.Settle(ctx, trouble.Matter{What: "telling the other hosts what this one has", Then: "they know it as it was"}, err, store.ErrUnavailable)
		if !store.Sleep(ctx, min(max(publishPause, 10*time.Since(began)), publishPauseLongest)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ps.Changed:
		case <-tick.C:
		}
	}
}

// publish writes the description if it is not what was written last, and
// returns what is written now.
func (ps *Node) publish(ctx context.Context, last store.Node) (store.Node, error) {
	trusted := ps.Self.Trusted() == nil
	var unread error
	if trusted {
		unread = ps.inherit(ctx) // before it is written over
	}
	node, err := ps.Describe(ctx)
	if err = errors.Join(unread, err); err != nil || !trusted || reflect.DeepEqual(node, last) {
		return last, err
	}
	if err := description.Publish(ctx, ps.Cfg.KV, node); err != nil {
		return last, err
	}
	return node, nil
}

// Describe collects the description as things are now.
func (ps *Node) Describe(ctx context.Context) (store.Node, error) {
	node := ps.Cfg.Node
	have, err := ps.Parents.Inventory(ctx)
	if err != nil {
		return node, err
	}
	ps.keepOut(have)
	for _, n := range ps.Memory.Networks() {
		if n.Stage == journal.StageGone || n.IsManager() {
			continue
		}
		node.Networks = append(node.Networks, ps.describeNetwork(n, have))
	}
	for _, i := range have {
		if !isContainerLink(i) {
			node.Interfaces = append(node.Interfaces, describeInterface(i, ps.usersOf(i.Name)))
		}
	}
	for about, failed := range ps.Troubles.List() {
		if name := ps.DefinitionName(about.Of); name != "" {
			node.Networks = append(node.Networks, store.NodeNetwork{UUID: about.Of, Name: name, State: "failed", Why: failed.Why})
		}
	}
	node.Networks = append(node.Networks, ps.Inherited.left()...)
	slices.SortFunc(node.Networks, func(a, b store.NodeNetwork) int { return strings.Compare(a.Name, b.Name) })
	return node, nil
}

// describeNetwork says how a network fares here: the parent that a container
// would get now, or why none.
func (ps *Node) describeNetwork(n journal.Network, have []parentfile.Interface) store.NodeNetwork {
	fares := store.NodeNetwork{UUID: n.UUID, Name: n.Name, Engine: n.ID, State: string(n.Stage), Why: n.Why, Links: n.Links}
	if n.Stage == journal.StageLocal {
		fares.Pools, fares.Segment = n.Pools, n.Segment
	}
	if on, why := n.HostAccess(ps.Cfg.Defaults); on && ps.Cfg.Routes != nil {
		fares.HostAccess = "on"
	} else if why != "" {
		fares.HostAccess = "off: " + why
	}
	if on, why := n.RoutesHosts(ps.Cfg.Defaults); on && ps.Cfg.Routes != nil {
		fares.HostRoutes = "on"
	} else if why != "" {
		fares.HostRoutes = "off: " + why
	}
	if n.Isolated() {
		return fares
	}
	choice, _, err := ps.Parents.ChooseFrom(have, n)
	if err != nil {
		fares.Why = err.Error()
		return fares
	}
	fares.Parent = parent.Name(choice)
	return fares
}

// usersOf names the networks whose containers hang from an interface.
func (ps *Node) usersOf(name string) []string {
	var users []string
	for _, e := range ps.Memory.Endpoints() {
		if e.Parent != name || e.Link == "" {
			continue
		}
		if n, ok := ps.Memory.Network(e.Network); ok && !slices.Contains(users, n.Title()) {
			users = append(users, n.Title())
		}
	}
	slices.Sort(users)
	return users
}

// isContainerLink reports whether a link is one that containers get, which come
// and go with every start, and no parent.
func isContainerLink(i parentfile.Interface) bool {
	return i.Kind == "macvlan" || i.Kind == "ipvlan" || i.Kind == "veth" && i.Master != ""
}

func describeInterface(i parentfile.Interface, users []string) store.Interface {
	described := store.Interface{
		Name: i.Name, Kind: i.Kind, Up: i.Up, MTU: i.MTU, MAC: i.MAC, Master: i.Master, Parent: i.Parent,
		VLAN: i.VLAN, Default: i.DefaultRoute, Wireless: i.Wireless, UsedBy: users,
	}
	for _, p := range i.Addresses {
		described.Addresses = append(described.Addresses, p.String())
	}
	return described
}

// PublishRefs writes which definitions this host's containers refer to, and
// which addresses its stopped ones want again, when that changed: a definition
// is in use wherever any does.
func (ps *Node) PublishRefs(ctx context.Context, v plan.View) error {
	refs := store.Refs{Networks: map[string][]string{}, Kept: v.Kept}
	for _, n := range v.Journal {
		if names := v.Users[n.ID]; len(names) > 0 && n.Bound() {
			refs.Networks[n.UUID] = slices.Sorted(slices.Values(names))
		}
	}
	if sameRefs(refs, v.Refs[v.Node]) {
		return nil
	}
	_, err := ps.Cfg.KV.Commit(ctx, store.Txn{Then: []store.Op{store.Put(store.RefsKey(v.Node), store.Encode(refs))}})
	if errors.Is(err, store.ErrUnavailable) {
		return nil // tried again with the next look
	}
	if err != nil {
		return fmt.Errorf("publish the references of node %s: %w", v.Node, err)
	}
	return nil
}

func sameRefs(a, b store.Refs) bool {
	return maps.EqualFunc(a.Networks, b.Networks, slices.Equal[[]string]) && slices.Equal(a.Kept, b.Kept)
}

// ownAddresses are those of the hosts' interfaces. They are looked at with every
// container that starts anywhere near, and change hardly ever: what is told again
// costs the allocator a new set of all of them.
type ownAddresses struct {
	mu        sync.Mutex
	addresses map[netip.Addr]string // this host's, by the last look
	others    map[string]othersOwn  // by key of the node's description
	told      map[netip.Addr]string // all, as the allocator knows them; nil: it was told nothing
	all       bool                  // told has those of every node
}

// othersOwn are the addresses of another node's description.
type othersOwn struct {
	at        store.Revision // it was last modified at
	addresses map[netip.Addr]string
}

// LookAtOwn reads this host's own addresses, before anything else is known.
func (ps *Node) LookAtOwn(ctx context.Context) error {
	have, err := ps.Parents.Inventory(ctx)
	if err != nil {
		return err
	}
	ps.keepOut(have)
	return nil
}

// keepOut tells the allocator which addresses are hosts' own: those of this
// host's interfaces as they are now, and what the other nodes say of theirs.
func (ps *Node) keepOut(have []parentfile.Interface) {
	own := ps.Cfg.Node
	for _, i := range have {
		own.Interfaces = append(own.Interfaces, describeInterface(i, nil))
	}
	ps.own.mu.Lock()
	ps.own.addresses = own.HostAddresses()
	ps.own.mu.Unlock()
	ps.KeepOutAll()
}

// KeepOutAll is keepOut after another node's description changed.
func (ps *Node) KeepOutAll() {
	ps.own.mu.Lock() // the newer of two looks must be the last to tell
	defer ps.own.mu.Unlock()
	rows, all := ps.Tables.Nodes.Rows()
	others := make(map[string]othersOwn, len(rows))
	out := map[netip.Addr]string{}
	for key, r := range rows {
		if r.Record.Node == ps.Self.Node() {
			continue
		}
		had, known := ps.own.others[key]
		if !known || had.at != r.Modified {
			had = othersOwn{r.Modified, r.Record.HostAddresses()}
		}
		others[key] = had
		maps.Copy(out, had.addresses)
	}
	ps.own.others = others
	maps.Copy(out, ps.own.addresses)
	if ps.own.told != nil && all == ps.own.all && maps.Equal(out, ps.own.told) {
		return
	}
	ps.own.told, ps.own.all = out, all
	ps.Addresses.KeepOut(out, all)
}
