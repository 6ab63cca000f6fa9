package cluster

import (
	"slices"
	"strings"
	"time"

	"gvlan/cluster/gossip"
)

// State is how a node fares, from what etcd and the gossip say of it.
type State string

const (
	// Ready: connected to etcd and answering its peers.
	Ready State = "ready"
	// Unreachable: connected to etcd, but its peers get no answer.
	Unreachable State = "unreachable-by-peers"
	// Detached: answers its peers, but is not connected to etcd. Its
	// containers and names go on; it can take no new address.
	Detached State = "detached"
	// Down: neither. Its containers may run on all the same.
	Down State = "down"
	// Evicted: an operator took its right to write and its addresses.
	Evicted State = "evicted"
)

// StateOf judges a node by whether its agent is connected to etcd and
// whether it answers its peers.
func StateOf(live, alive bool) State {
	switch {
	case live && alive:
		return Ready
	case live:
		return Unreachable
	case alive:
		return Detached
	default:
		return Down
	}
}

// Row is everything known of one node, from both sides.
type Row struct {
	Node   string
	State  State
	Since  time.Time      // when State began, as far as this node saw; zero: it did not see
	Store  gossip.Node    // etcd's side
	Member *gossip.Member // the gossip's side; nil: the gossip does not know it
	// Stopped is set when a node that is down had said that it goes.
	Stopped bool
	// StaleParents is set when the node says in the gossip that its
	// interfaces are others than its record lists.
	StaleParents bool
}

// View joins etcd's side with the gossip's, in the order of names. Members
// nil means that there is no gossip: then a node is as etcd says, ready or
// down.
func View(known gossip.Known, members []gossip.Member) []Row {
	rows := map[string]*Row{}
	for name, node := range known.Nodes {
		if node.Registered || node.Live != nil || node.Epoch.Evicted {
			rows[name] = &Row{Node: name, Store: node}
		}
	}
	for _, m := range members {
		if rows[m.Node] == nil {
			rows[m.Node] = &Row{Node: m.Node, Store: gossip.Node{Name: m.Node}}
		}
		rows[m.Node].Member = &m
	}
	var view []Row
	for _, row := range rows {
		row.judge(members != nil)
		view = append(view, *row)
	}
	slices.SortFunc(view, func(a, b Row) int { return strings.Compare(a.Node, b.Node) })
	return view
}

// judge fills what follows from the two sides.
func (r *Row) judge(gossiped bool) {
	live := r.Store.Live != nil
	alive := r.Member != nil && r.Member.Standing == gossip.Alive
	r.State = StateOf(live, alive || live && !gossiped)
	if r.Store.Epoch.Evicted && !live {
		r.State = Evicted
	}
	r.Stopped = !live && r.Member != nil && r.Member.Standing == gossip.Left
	r.Since = r.since()
	r.StaleParents = alive && r.Store.Registered && r.Member.Meta.Parents != 0 &&
		r.Member.Meta.Parents != gossip.ParentsDigest(r.Store.Description.Interfaces)
}

func (r *Row) since() time.Time {
	var silent time.Time
	if r.Member != nil {
		silent = r.Member.Since
	}
	switch r.State {
	case Ready:
		return time.Unix(r.Store.Live.Since, 0)
	case Unreachable:
		return silent
	case Down:
		if silent.After(r.Store.Gone) {
			return silent
		}
	}
	return r.Store.Gone
}
