package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/trouble"
)

// Hosts are host names by node. Messages call nodes so: a node's id is
// usually its machine id, which nobody knows.
type Hosts map[string]string

// Of is the host name of a node, or its id.
func (h Hosts) Of(node string) string { return cmp.Or(h[node], node) }

// View is everything a plan is made from, at one moment.
type View struct {
	Node        string
	Now         time.Time                             // by this host's clock
	Engine      map[string]engine.Network             // of this driver and local scope, by id
	Swarm       map[string]engine.Network             // of this driver and swarm scope, by id
	Others      map[string]string                     // names of every other network here: its driver
	Journal     []journal.Network                     // this host's networks
	Missing     map[string]time.Time                  // networks of the journal, by id, that the engine does not list: since when
	Users       map[string][]string                   // engine network id: containers here, running or stopped
	Definitions map[string]store.Row[store.Network]   // by name
	Tombstones  map[string]store.Row[store.Tombstone] // by uuid
	Removals    map[string]map[string]store.Removal   // by uuid and node
	Refs        map[string]store.Refs                 // by node
	Live        []string                              // nodes
	Known       []string                              // nodes that were not evicted: also those that are away
	Imports     []string                              // uuids of networks whose addresses are being taken in here
	Kept        []store.Kept                          // what stopped containers here want again
	Hosts       Hosts                                 // names for messages
	SwarmOnly   bool                                  // the managed plugin: plain networks are the socket agent's
	Pruned      time.Time                             // this engine's last network prune
	Deleted     time.Time                             // its last deletion of any network
	Waiting     func(trouble.Matter) bool             // it failed and is not due again
}

// usedBy names who refers to the network anywhere, or "". This host's own
// users are known better than its refs.
func (v View) usedBy(n journal.Network) string {
	if users := v.Users[n.ID]; len(users) > 0 {
		return fmt.Sprintf("containers on node %s: %s", v.Hosts.Of(v.Node), strings.Join(users, ", "))
	}
	for _, node := range slices.Sorted(maps.Keys(v.Refs)) {
		if names := v.Refs[node].Networks[n.UUID]; node != v.Node && len(names) > 0 {
			return fmt.Sprintf("containers on node %s: %s", v.Hosts.Of(node), strings.Join(names, ", "))
		}
	}
	return ""
}

// buried reports whether a definition was removed.
func (v View) buried(uuid string) bool {
	_, yes := v.Tombstones[uuid]
	return yes
}

func (v View) byUUID(uuid string) (store.Row[store.Network], bool) {
	for _, def := range v.Definitions {
		if def.Record.UUID == uuid {
			return def, true
		}
	}
	return store.Row[store.Network]{}, false
}

// Knows reports whether there is a definition of that uuid, or a network of that
// id.
func (v View) Knows(id string) bool {
	_, defined := v.byUUID(id)
	return defined || slices.ContainsFunc(v.Journal, func(n journal.Network) bool { return n.ID == id })
}

// List takes over the engine's networks: those a driver replicates, the swarm's
// and everybody else's.
func (v *View) List(networks []engine.Network, driver string) {
	v.Engine, v.Swarm, v.Others = map[string]engine.Network{}, map[string]engine.Network{}, map[string]string{}
	for _, n := range networks {
		switch {
		case n.Driver == driver && n.Scope == engine.ScopeLocal && !n.ConfigOnly:
			v.Engine[n.ID] = n
			continue
		case n.Driver == driver && n.Scope == engine.ScopeSwarm:
			v.Swarm[n.ID] = n
		}
		v.Others[n.Name] = n.Driver
	}
}

// Unlisted gives the networks of the journal that the engine does not list,
// with when that was first seen.
func Unlisted(v View, before map[string]time.Time) map[string]time.Time {
	since := map[string]time.Time{}
	for _, n := range v.Journal {
		if _, listed := v.Engine[n.ID]; listed {
			continue
		}
		since[n.ID] = v.Now
		if first, ok := before[n.ID]; ok {
			since[n.ID] = first
		}
	}
	return since
}

// Users lists the containers that refer to each network, running or stopped.
// A container that never ran knows its network by name only.
func Users(containers []engine.Container, networks map[string]engine.Network, known []journal.Network) map[string][]string {
	byName := map[string]string{}
	for _, n := range known {
		if n.Name != "" {
			byName[n.Name] = n.ID
		}
	}
	for id, n := range networks {
		byName[n.Name] = id
	}
	refer := map[string][]string{}
	for _, c := range containers {
		for _, a := range c.Attachments {
			id := a.NetworkID
			if id == "" {
				id = byName[a.Network]
			}
			if id != "" && !slices.Contains(refer[id], c.Name) {
				refer[id] = append(refer[id], c.Name)
			}
		}
	}
	return refer
}

// ByName finds definitions by name.
func ByName(rows map[string]store.Row[store.Network]) map[string]store.Row[store.Network] {
	named := make(map[string]store.Row[store.Network], len(rows))
	for _, r := range rows {
		named[r.Record.Name] = r
	}
	return named
}

// ByUUID finds tombstones by the uuid of their network.
func ByUUID(rows map[string]store.Row[store.Tombstone]) map[string]store.Row[store.Tombstone] {
	graves := make(map[string]store.Row[store.Tombstone], len(rows))
	for _, r := range rows {
		graves[r.Record.Network.UUID] = r
	}
	return graves
}

// ByNode finds the answers to removals by uuid and node.
func ByNode(rows map[string]store.Row[store.Removal]) map[string]map[string]store.Removal {
	answers := map[string]map[string]store.Removal{}
	for key, r := range rows {
		uuid := store.RemovalOf(key)
		if answers[uuid] == nil {
			answers[uuid] = map[string]store.Removal{}
		}
		answers[uuid][store.NameOf(key)] = r.Record
	}
	return answers
}

// Records are records by what their keys end with.
func Records[T any](rows map[string]store.Row[T]) map[string]T {
	plain := make(map[string]T, len(rows))
	for key, r := range rows {
		plain[store.NameOf(key)] = r.Record
	}
	return plain
}

// NamesOf are what the keys end with, sorted.
func NamesOf[T any](rows map[string]store.Row[T]) []string {
	var names []string
	for key := range rows {
		names = append(names, store.NameOf(key))
	}
	slices.Sort(names)
	return names
}

// Forgot reports whether the journal does not know a network that was not
// removed: a lost journal's networks are taken back one after the other, and
// until then this node's Refs alone tell what stopped containers on it want.
func (v View) Forgot(uuid string) bool {
	_, removed := v.Tombstones[uuid]
	return !removed && !slices.ContainsFunc(v.Journal, func(n journal.Network) bool { return n.UUID == uuid })
}

// AttachedTo finds the network of an attachment. A container that never ran
// knows it by name only.
func (v View) AttachedTo(a engine.Attachment) (journal.Network, bool) {
	for _, n := range v.Journal {
		if n.ID == a.NetworkID || a.NetworkID == "" && n.Name == a.Network && n.Name != "" {
			return n, true
		}
	}
	return journal.Network{}, false
}

// InCluster are the nodes that ever wrote and were not evicted, in order.
func InCluster(epochs map[string]store.Row[store.Epoch]) []string {
	var names []string
	for key, epoch := range epochs {
		if !epoch.Record.Evicted {
			names = append(names, store.NameOf(key))
		}
	}
	slices.Sort(names)
	return names
}
