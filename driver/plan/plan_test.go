package plan

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/driver/trouble"
)

// world is one network "lan1" of node h1 in a plan's view, to be bent by each
// case.
func world() View {
	pools := []store.Pool{{Subnet: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("192.168.1.1")}}
	def := store.Network{
		UUID: "u1", Name: "lan1", State: store.NetworkActive, Scope: store.ScopeGlobal, Origin: "h1",
		Created: store.Definition{IPv4: true, Options: map[string]string{"parent": "eth1"}, Segment: "default", Pools: pools},
	}
	return View{
		Node: "h1", Now: time.UnixMilli(1_000_000),
		Engine: map[string]engine.Network{"e1": {ID: "e1", Name: "lan1", Driver: "gvlan", Options: map[string]string{"parent": "eth1"}}},
		Journal: []journal.Network{{ID: "e1", Stage: journal.StageCommitted, UUID: "u1", Name: "lan1", IPv4: true, Segment: "default", Pools: pools,
			Options: option.Options{Parent: "eth1", Kind: link.Macvlan, Mode: link.Bridge}, Since: 900_000}},
		Users:       map[string][]string{},
		Definitions: map[string]store.Row[store.Network]{"lan1": {Key: "/networks/lan1", Record: def, Created: 5, Modified: 7}},
		Tombstones:  map[string]store.Row[store.Tombstone]{},
		Removals:    map[string]map[string]store.Removal{},
		Refs:        map[string]store.Refs{},
		Live:        []string{"h1", "h2"},
		Waiting:     func(trouble.Matter) bool { return false },
	}
}

func (v *View) setState(s store.NetworkState) {
	def := v.Definitions["lan1"]
	def.Record.State = s
	v.Definitions["lan1"] = def
}

func (v *View) setUUID(uuid string) {
	def := v.Definitions["lan1"]
	def.Record.UUID = uuid
	v.Definitions["lan1"] = def
}

func (v *View) setSubnet(s string) {
	def := v.Definitions["lan1"]
	def.Record.Created.Pools = []store.Pool{{Subnet: netip.MustParsePrefix(s)}}
	v.Definitions["lan1"] = def
}

func (v *View) removal(node string, r store.Removal) {
	if v.Removals["u1"] == nil {
		v.Removals["u1"] = map[string]store.Removal{}
	}
	if r.At == 0 {
		r.At = v.Definitions["lan1"].Modified
	}
	v.Removals["u1"][node] = r
}

func TestPlan(t *testing.T) {
	refs := func(names ...string) store.Refs { return store.Refs{Networks: map[string][]string{"u1": names}} }
	tests := []struct {
		name string
		bend func(*View)
		want []string // "action why-fragment"
	}{
		{"all is well", func(v *View) {}, nil},
		{"made here, not defined yet", func(v *View) { v.Definitions = nil; v.Journal[0].Stage = journal.StageSeen }, []string{"commit"}},
		{"made here, its commit landed before a crash", func(v *View) { v.Journal[0].Stage = journal.StageSeen }, []string{"bind"}},
		{"made on two hosts, identical", func(v *View) { v.Journal[0].Stage = journal.StageSeen; v.Journal[0].UUID = "mine" }, []string{"bind"}},
		{"defined elsewhere", func(v *View) { v.Journal, v.Engine = nil, nil }, []string{"create"}},
		{"defined elsewhere, a create failed just now", func(v *View) {
			v.Journal, v.Engine = nil, nil
			v.Waiting = func(trouble.Matter) bool { return true }
		}, nil},
		{"defined elsewhere, another driver has the name here", func(v *View) {
			v.Journal, v.Engine = nil, nil
			v.Others = map[string]string{"lan1": "macvlan"}
		}, []string{"complain macvlan"}},
		{"removing by force: containers here are disconnected", func(v *View) {
			v.setState(store.NetworkRemoving)
			def := v.Definitions["lan1"]
			def.Record.Force = true
			v.Definitions["lan1"] = def
			v.Users["e1"] = []string{"web"}
		}, []string{"detach"}},
		{"of the swarm, never replicated", func(v *View) {
			v.Journal, v.Engine = nil, nil
			def := v.Definitions["lan1"]
			def.Record.Scope = store.ScopeSwarm
			v.Definitions["lan1"] = def
		}, nil},
		{"the journal was lost", func(v *View) { v.Journal = nil }, []string{"adopt"}},
		{"the journal was lost and the network is another", func(v *View) { v.Journal = nil; v.enginePool("10.0.0.0/8") }, nil},
		{"the journal was lost, the engine lists the pool", func(v *View) { v.Journal = nil; v.enginePool("192.168.1.0/24") }, []string{"adopt"}},

		{"clash, made this moment", func(v *View) {
			v.Journal[0].Stage, v.Journal[0].UUID, v.Journal[0].Since = journal.StageSeen, "mine", v.Now.UnixMilli()
			v.setSubnet("10.0.0.0/8")
		}, []string{"stage node h1 defined a different network of this name first, which takes the place of this one in 10 s"}},
		{"clash, unused", func(v *View) {
			v.Journal[0].Stage, v.Journal[0].UUID = journal.StageSeen, "mine"
			v.setSubnet("10.0.0.0/8")
		}, []string{"remove defined a different network"}},
		{"clash, a stopped container refers to it", func(v *View) {
			v.Journal[0].Stage, v.Journal[0].UUID = journal.StageSeen, "mine"
			v.setSubnet("10.0.0.0/8")
			v.Users["e1"] = []string{"web"}
		}, []string{"stage web"}},
		{"not a clash: an rm here takes the defined one away", func(v *View) { v.deletedHere(100 * time.Millisecond); v.madeAnother() }, nil},
		{"the rm's quiet is over", func(v *View) { v.deletedHere(5 * time.Second); v.madeAnother() }, []string{"retire"}},
		{"a clash after all: a container elsewhere keeps the defined one", func(v *View) {
			v.deletedHere(100 * time.Millisecond)
			v.madeAnother()
			v.Refs["h2"] = refs("db")
		}, []string{"stage node h1 defined a different network of this name first"}},
		{"a clash after all: it was a prune", func(v *View) { v.deletedHere(100 * time.Millisecond); v.madeAnother(); v.Pruned = v.Now },
			[]string{"come back prune", "stage node h1 defined a different network of this name first"}},
		{"clash whose winner went away", func(v *View) { v.Journal[0].Stage = journal.StageConflict; v.Definitions = nil }, []string{"commit"}},

		{"rm, a moment ago", func(v *View) { v.deletedHere(100 * time.Millisecond) }, nil},
		{"rm, nobody refers to it", func(v *View) { v.deletedHere(5 * time.Second) }, []string{"retire"}},
		{"rm, a container elsewhere refers to it", func(v *View) { v.deletedHere(5 * time.Second); v.Refs["h2"] = refs("db") }, []string{"come back db"}},
		{"rm, a container on a host that is away refers to it", func(v *View) { v.deletedHere(5 * time.Second); v.Refs["h9"] = refs("db") }, []string{"come back node h9"}},
		{"rm, a stopped container here refers to it", func(v *View) { v.deletedHere(5 * time.Second); v.Users["e1"] = []string{"web"} }, []string{"come back web"}},
		{"prune", func(v *View) { v.deletedHere(100 * time.Millisecond); v.Pruned = v.Now }, []string{"come back prune"}},
		{"an older prune does not excuse an rm", func(v *View) { v.deletedHere(5 * time.Second); v.Pruned = v.Now.Add(-6 * time.Second) }, []string{"retire"}},
		{"other deletions go on: it may be a prune", func(v *View) { v.deletedHere(5 * time.Second); v.Deleted = v.Now }, nil},
		{"a prune's event came after the removal", func(v *View) {
			v.deletedHere(100 * time.Millisecond)
			grave := store.Tombstone{Network: v.Definitions["lan1"].Record}
			v.Definitions, v.Pruned = nil, v.Now
			v.Tombstones["u1"] = store.Row[store.Tombstone]{Record: grave}
		}, []string{"revive prune"}},
		{"rm is done", func(v *View) { v.deletedHere(5 * time.Second); v.Definitions = nil }, []string{"forget"}},
		{"the engine lost it", func(v *View) { v.Engine = nil }, []string{"come back lost"}},
		{"the engine deletes it and has not said so yet", func(v *View) {
			v.Engine = nil
			v.Missing = map[string]time.Time{"e1": v.Now.Add(-LostAfter)}
		}, nil},
		{"the engine deletes a local one and has not said so yet", func(v *View) {
			v.Engine, v.Definitions = nil, nil
			v.Journal[0].Stage = journal.StageLocal
			v.Missing = map[string]time.Time{"e1": v.Now.Add(-LostAfter)}
		}, nil},
		{"Docker is still deleting it", func(v *View) { v.Journal[0].Stage, v.Journal[0].Since = journal.StageGone, v.Now.UnixMilli()-1000 }, nil},
		{"Docker gave up deleting it", func(v *View) { v.Journal[0].Stage = journal.StageGone }, []string{"keep"}},

		{"removing: this host must let go", func(v *View) { v.setState(store.NetworkRemoving) }, []string{"remove"}},
		{"removing: a container here refers to it", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Users["e1"] = []string{"web"}
		}, []string{"answer web"}},
		{"removing: gone here", func(v *View) { v.setState(store.NetworkRemoving); v.Journal, v.Engine = nil, nil }, []string{"answer"}},
		{"removing: others have not answered", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
		}, nil},
		{"removing: all answered", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
			v.removal("h2", store.Removal{Gone: true})
		}, []string{"bury"}},
		{"removing: a veto", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.removal("h2", store.Removal{Veto: "db runs"})
		}, []string{"revive db runs"}},
		{"removing: an earlier removal's answers", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
			v.removal("h2", store.Removal{Gone: true, At: 6})
		}, nil},
		{"removing: this host's answer to an earlier removal", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.removal("h1", store.Removal{Gone: true, At: 6})
		}, []string{"answer"}},
		{"removing: an earlier removal's veto", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
			v.removal("h2", store.Removal{Veto: "db runs", At: 6})
		}, nil},
		{"removing: a reference beside an earlier removal's answer", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.Refs["h2"] = refs("db")
			v.removal("h2", store.Removal{Gone: true, At: 6})
		}, []string{"revive h2"}},
		{"removing: a host that is away refers to it", func(v *View) {
			v.setState(store.NetworkRemoving)
			v.Journal, v.Engine = nil, nil
			v.Refs["h9"] = refs("db")
		}, []string{"revive h9"}},

		{"removed while this host was away, unused", func(v *View) { v.bury() }, []string{"remove removed"}},
		{"removed while this host was away, used", func(v *View) { v.bury(); v.Users["e1"] = []string{"web"} }, []string{"stage web"}},
		{"a replica that nobody bound before its definition was removed", func(v *View) {
			v.bury()
			v.Journal[0].Stage, v.Journal[0].UUID = journal.StageSeen, "u2"
			e := v.Engine["e1"]
			e.Labels = map[string]string{ReplicaLabel: "u1"}
			v.Engine["e1"] = e
		}, []string{"remove removed"}},
		{"an orphan that is not used any more", func(v *View) { v.bury(); v.Journal[0].Stage = journal.StageOrphaned }, []string{"remove"}},
		{"an emptied store removes nothing", func(v *View) { v.Definitions = nil }, []string{"commit"}},
		{"an emptied store, a replica", func(v *View) { v.Definitions = nil; v.Journal[0].Stage = journal.StageReplica }, []string{"commit"}},
		{"the managed plugin leaves plain networks to the socket agent", func(v *View) {
			v.Journal, v.Engine, v.SwarmOnly = nil, nil, true
		}, nil},
		{"replaced while this host was away", func(v *View) { v.setUUID("u2"); v.setSubnet("10.0.0.0/8") }, []string{"remove replaced"}},
		{"replaced by an equal one", func(v *View) { v.setUUID("u2") }, []string{"bind"}},

		{"overrides changed", func(v *View) {
			def := v.Definitions["lan1"]
			parent := "eth2"
			def.Record.Overrides.Parent = &parent
			v.Definitions["lan1"] = def
		}, []string{"override"}},
		{"a local network is left alone", func(v *View) { v.Journal[0].Stage, v.Definitions = journal.StageLocal, nil }, nil},
		{"a local network's name is learned", func(v *View) {
			v.Journal[0].Stage, v.Journal[0].Name, v.Definitions = journal.StageLocal, "", nil
		}, []string{"stage"}},
		{"a replica made on a host labelled local", func(v *View) {
			v.Journal[0].Stage = journal.StageLocal
			e := v.Engine["e1"]
			e.Labels = map[string]string{ReplicaLabel: "u1"}
			v.Engine["e1"] = e
		}, []string{"bind"}},

		{"removed: nothing of it is left here", func(v *View) { v.buryGone() }, []string{"settle"}},
		{"removed: Docker's deletion is not settled yet", func(v *View) {
			v.buryGone()
			v.Journal = []journal.Network{{UUID: "u1", ID: "e1", Stage: journal.StageGone, Since: v.Now.UnixMilli()}}
			v.Engine = world().Engine
		}, nil},
		{"removed: the engine has a replica that the journal lost", func(v *View) {
			v.buryGone()
			v.Engine = map[string]engine.Network{"e1": {ID: "e1", Name: "lan1", Driver: "gvlan", Labels: map[string]string{ReplicaLabel: "u1"}}}
		}, nil},
		{"removed: an import of it is not over", func(v *View) { v.buryGone(); v.Imports = []string{"u1"} }, nil},
		{"removed: a stopped container's record names it", func(v *View) { v.buryGone(); v.Refs["h1"] = refs("db") }, nil},
		{"removed: a stopped container keeps an address of it", func(v *View) { v.buryGone(); v.Refs["h1"] = store.Refs{Kept: []store.Kept{{Network: "u1"}}} }, nil},
		{"removed: settled here, not on the other", func(v *View) { v.buryGone("h1") }, nil},
		{"removed: settled by all that are connected, not by one that is away", func(v *View) { v.buryGone("h1", "h2"); v.Known = []string{"h1", "h2", "h9"} }, nil},
		{"removed: settled by all", func(v *View) { v.buryGone("h1", "h2", "h9"); v.Known = []string{"h1", "h2", "h9"} }, []string{"clear"}},
		{"removed: settled by all, another node clears", func(v *View) { v.buryGone("h1", "h2"); v.Live = []string{"h0", "h1"} }, nil},
		{"removed: settled once, revived, removed again", func(v *View) {
			v.buryGone("h1", "h2")
			again := v.Removals["u1"]["h2"]
			again.At--
			v.Removals["u1"]["h2"] = again
		}, nil},
		{"removed: only answers to the removal itself", func(v *View) {
			v.buryGone()
			v.removal("h1", store.Removal{Gone: true, At: 7})
			v.removal("h2", store.Removal{Gone: true, At: 7})
		}, []string{"settle"}},
		{"its tombstone is cleared", func(v *View) { v.buryGone("h1", "h2"); v.Tombstones = nil }, []string{"sweep"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := world()
			tt.bend(&v)
			steps := Steps(v)
			var got []string
			for i, s := range steps {
				line := string(s.Do)
				if i < len(tt.want) {
					if _, fragment, ok := strings.Cut(tt.want[i], line+" "); ok && strings.Contains(s.Why, fragment) {
						line = tt.want[i]
					}
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s%+v", diff, steps)
			}
		})
	}
}

// bury makes lan1 one whose definition was removed.
func (v *View) bury() {
	v.Tombstones["u1"] = store.Row[store.Tombstone]{Record: store.Tombstone{Network: v.Definitions["lan1"].Record}}
	v.Definitions = nil
}

// buryGone makes lan1 one that was removed and is not here; the nodes have
// settled it.
func (v *View) buryGone(settled ...string) {
	v.bury()
	grave := v.Tombstones["u1"]
	grave.Key, grave.Created, grave.Modified = "/tombstones/u1", 9, 9
	v.Tombstones["u1"] = grave
	v.Journal, v.Engine = nil, nil
	for _, node := range settled {
		v.removal(node, store.Removal{Gone: true, Settled: true, At: 9})
	}
}

// deletedHere makes lan1 one that Docker deleted that long ago.
func (v *View) deletedHere(ago time.Duration) {
	v.Journal[0].Stage, v.Journal[0].Since = journal.StageGone, v.Now.Add(-ago).UnixMilli()
	v.Deleted = v.Now.Add(-ago)
	v.Engine = nil
}

// madeAnother has another network of the name be made here just now.
func (v *View) madeAnother() {
	n := v.Journal[0]
	n.ID, n.UUID, n.Stage, n.Since = "e2", "mine", journal.StageSeen, v.Now.UnixMilli()
	n.Pools = []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/8")}}
	v.Journal = append(v.Journal, n)
	v.Engine = map[string]engine.Network{"e2": {ID: "e2", Name: "lan1", Driver: "gvlan", Options: map[string]string{"parent": "eth1"}}}
}

// enginePool makes the engine list a pool for lan1.
func (v *View) enginePool(subnet string) {
	e := v.Engine["e1"]
	e.IPAM.Pools = []engine.Pool{{Subnet: netip.MustParsePrefix(subnet)}}
	v.Engine["e1"] = e
}

// TestPlanFinishesAReturn: whoever brought a network back died before the
// stopped containers were attached. The old record alone would retire the
// definition: nobody refers to its id any more.
func TestPlanFinishesAReturn(t *testing.T) {
	v := world()
	old := v.Journal[0]
	old.ID, old.Stage = "e0", journal.StageGone
	v.Journal = append(v.Journal, old)
	steps := Steps(v)
	if len(steps) != 1 || steps[0].Do != ComeBack || steps[0].Network.ID != "e0" || steps[0].Engine.ID != "e1" {
		t.Errorf("plan: got %+v, want e0 to come back as e1", steps)
	}
}

// TestPlanForgetsARemovalThatEnded: a veto elsewhere kept the definition while
// this host's removal was under way.
func TestPlanForgetsARemovalThatEnded(t *testing.T) {
	v := world()
	v.Journal[0].Removing = true
	if steps := Steps(v); len(steps) != 1 || steps[0].Do != Override {
		t.Errorf("plan: got %+v, want the mark taken away", steps)
	}
}

// TestPlanKeepsWhatDockerKept: a deletion whose answer Docker did not hear
// leaves the network in the engine.
func TestPlanKeepsWhatDockerKept(t *testing.T) {
	v := world()
	v.Journal[0].Stage, v.Journal[0].Since = journal.StageGone, v.Now.UnixMilli()-1
	if steps := Steps(v); len(steps) != 0 {
		t.Errorf("plan: got %+v, want Docker to be waited for", steps)
	}
	v.Journal[0].Since = v.Now.Add(-ListedAfter).UnixMilli() - 1
	if steps := Steps(v); len(steps) != 1 || steps[0].Do != Keep {
		t.Errorf("plan: got %+v, want the network kept", steps)
	}
}

// TestPlanAsksTheSwarmItself: a manager without a quorum lists no network of
// the swarm, which is no reason to end what the swarm claims on one.
func TestPlanAsksTheSwarmItself(t *testing.T) {
	v := world()
	v.Definitions, v.Engine = nil, nil
	v.Journal[0].ID, v.Journal[0].UUID, v.Journal[0].Stage = store.ManagerNetwork("swarmnetwork"), "swarmnetwork", journal.StageSwarm
	if steps := Steps(v); len(steps) != 0 {
		t.Errorf("plan: got %+v, want it left to who asks the swarm", steps)
	}
	v.Journal[0].Removing = true // freed
	if steps := Steps(v); len(steps) != 1 || steps[0].Do != Forget {
		t.Errorf("plan: got %+v, want the network forgotten", steps)
	}
}

// Node ids are machine ids; people know hosts by their names.
func TestPlanNamesHosts(t *testing.T) {
	v := View{Node: "id1", Now: time.UnixMilli(0).Add(ClashPatience), Hosts: map[string]string{"id1": "machine1", "id3": "machine3"}, Refs: map[string]store.Refs{
		"id3": {Networks: map[string][]string{"u1": {"web"}}},
	}}
	def := store.Row[store.Network]{Record: store.Network{UUID: "u1", Name: "lan1", Origin: "id3", State: store.NetworkRemoving}}
	n := journal.Network{ID: "n1", UUID: "u1", Since: 0}
	whys := map[string]string{
		"in use elsewhere": v.usedBy(n),
		"another's name":   v.planClash(n, engine.Network{}, def)[0].Why,
		"removal":          v.planRemoval(def)[0].Why,
		"unknown node":     View{}.Hosts.Of("id4"),
	}
	want := map[string]string{
		"in use elsewhere": "containers on node machine3: web",
		"another's name":   "node machine3 defined a different network of this name first",
		"removal":          "containers on node machine3 refer to it: web",
		"unknown node":     "id4",
	}
	if diff := cmp.Diff(want, whys); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}
