package driver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/link"
)

// world is one network "lan1" of node h1 in a plan's view, to be bent by each
// case.
func world() view {
	pools := []store.Pool{{Subnet: netip.MustParsePrefix("192.168.1.0/24"), Gateway: netip.MustParseAddr("192.168.1.1")}}
	def := store.Network{
		UUID: "u1", Name: "lan1", State: store.NetworkActive, Scope: store.ScopeGlobal, Origin: "h1",
		Created: store.Definition{IPv4: true, Options: map[string]string{"parent": "eth1"}, Segment: "default", Pools: pools},
	}
	return view{
		node: "h1", now: 1_000_000,
		engine: map[string]engine.Network{"e1": {ID: "e1", Name: "lan1", Driver: "gvlan", Options: map[string]string{"parent": "eth1"}}},
		journal: []hostNetwork{{ID: "e1", Stage: StageCommitted, UUID: "u1", Name: "lan1", IPv4: true, Segment: "default", Pools: pools,
			Options: Options{Parent: "eth1", Kind: link.Macvlan, Mode: link.Bridge}, Since: 900_000}},
		users:       map[string][]string{},
		definitions: map[string]row[store.Network]{"lan1": {Key: "/networks/lan1", Record: def, Born: 5, Modified: 7}},
		tombstones:  map[string]row[store.Tombstone]{},
		removals:    map[string]map[string]store.Removal{},
		refs:        map[string]store.Refs{},
		live:        []string{"h1", "h2"},
		waiting:     func(matter) bool { return false },
	}
}

func (v *view) setState(s store.NetworkState) {
	def := v.definitions["lan1"]
	def.Record.State = s
	v.definitions["lan1"] = def
}

func (v *view) setUUID(uuid string) {
	def := v.definitions["lan1"]
	def.Record.UUID = uuid
	v.definitions["lan1"] = def
}

func (v *view) setSubnet(s string) {
	def := v.definitions["lan1"]
	def.Record.Created.Pools = []store.Pool{{Subnet: netip.MustParsePrefix(s)}}
	v.definitions["lan1"] = def
}

func (v *view) removal(node string, r store.Removal) {
	if v.removals["u1"] == nil {
		v.removals["u1"] = map[string]store.Removal{}
	}
	if r.At == 0 {
		r.At = v.definitions["lan1"].Modified
	}
	v.removals["u1"][node] = r
}

func TestPlan(t *testing.T) {
	refs := func(names ...string) store.Refs { return store.Refs{Networks: map[string][]string{"u1": names}} }
	tests := []struct {
		name string
		bend func(*view)
		want []string // "action why-fragment"
	}{
		{"all is well", func(v *view) {}, nil},
		{"made here, not defined yet", func(v *view) { v.definitions = nil; v.journal[0].Stage = StageSeen }, []string{"commit"}},
		{"made here, its commit landed before a crash", func(v *view) { v.journal[0].Stage = StageSeen }, []string{"bind"}},
		{"made on two hosts, identical", func(v *view) { v.journal[0].Stage = StageSeen; v.journal[0].UUID = "mine" }, []string{"bind"}},
		{"defined elsewhere", func(v *view) { v.journal, v.engine = nil, nil }, []string{"create"}},
		{"defined elsewhere, a create failed just now", func(v *view) {
			v.journal, v.engine = nil, nil
			v.waiting = func(matter) bool { return true }
		}, nil},
		{"defined elsewhere, another driver has the name here", func(v *view) {
			v.journal, v.engine = nil, nil
			v.others = map[string]string{"lan1": "macvlan"}
		}, []string{"complain macvlan"}},
		{"removing by force: containers here are disconnected", func(v *view) {
			v.setState(store.NetworkRemoving)
			def := v.definitions["lan1"]
			def.Record.Force = true
			v.definitions["lan1"] = def
			v.users["e1"] = []string{"web"}
		}, []string{"detach"}},
		{"of the swarm, never replicated", func(v *view) {
			v.journal, v.engine = nil, nil
			def := v.definitions["lan1"]
			def.Record.Scope = store.ScopeSwarm
			v.definitions["lan1"] = def
		}, nil},
		{"the journal was lost", func(v *view) { v.journal = nil }, []string{"adopt"}},
		{"the journal was lost and the network is another", func(v *view) { v.journal = nil; v.enginePool("10.0.0.0/8") }, nil},
		{"the journal was lost, the engine lists the pool", func(v *view) { v.journal = nil; v.enginePool("192.168.1.0/24") }, []string{"adopt"}},

		{"clash, made this moment", func(v *view) {
			v.journal[0].Stage, v.journal[0].UUID, v.journal[0].Since = StageSeen, "mine", v.now
			v.setSubnet("10.0.0.0/8")
		}, []string{"stage node h1 defined a different network of this name first, which takes the place of this one in 10 s"}},
		{"clash, unused", func(v *view) {
			v.journal[0].Stage, v.journal[0].UUID = StageSeen, "mine"
			v.setSubnet("10.0.0.0/8")
		}, []string{"remove defined a different network"}},
		{"clash, a stopped container refers to it", func(v *view) {
			v.journal[0].Stage, v.journal[0].UUID = StageSeen, "mine"
			v.setSubnet("10.0.0.0/8")
			v.users["e1"] = []string{"web"}
		}, []string{"stage web"}},
		{"not a clash: an rm here takes the defined one away", func(v *view) { v.deletedHere(100); v.madeAnother() }, nil},
		{"the rm's quiet is over", func(v *view) { v.deletedHere(5_000); v.madeAnother() }, []string{"retire"}},
		{"a clash after all: a container elsewhere keeps the defined one", func(v *view) {
			v.deletedHere(100)
			v.madeAnother()
			v.refs["h2"] = refs("db")
		}, []string{"stage node h1 defined a different network of this name first"}},
		{"a clash after all: it was a prune", func(v *view) { v.deletedHere(100); v.madeAnother(); v.pruned = v.now },
			[]string{"come back prune", "stage node h1 defined a different network of this name first"}},
		{"clash whose winner went away", func(v *view) { v.journal[0].Stage = StageConflict; v.definitions = nil }, []string{"commit"}},

		{"rm, a moment ago", func(v *view) { v.deletedHere(100) }, nil},
		{"rm, nobody refers to it", func(v *view) { v.deletedHere(5_000) }, []string{"retire"}},
		{"rm, a container elsewhere refers to it", func(v *view) { v.deletedHere(5_000); v.refs["h2"] = refs("db") }, []string{"come back db"}},
		{"rm, a container on a host that is away refers to it", func(v *view) { v.deletedHere(5_000); v.refs["h9"] = refs("db") }, []string{"come back node h9"}},
		{"rm, a stopped container here refers to it", func(v *view) { v.deletedHere(5_000); v.users["e1"] = []string{"web"} }, []string{"come back web"}},
		{"prune", func(v *view) { v.deletedHere(100); v.pruned = v.now }, []string{"come back prune"}},
		{"an older prune does not excuse an rm", func(v *view) { v.deletedHere(5_000); v.pruned = v.now - 6_000 }, []string{"retire"}},
		{"other deletions go on: it may be a prune", func(v *view) { v.deletedHere(5_000); v.deleted = v.now }, nil},
		{"a prune's event came after the removal", func(v *view) {
			v.deletedHere(100)
			grave := store.Tombstone{Network: v.definitions["lan1"].Record}
			v.definitions, v.pruned = nil, v.now
			v.tombstones["u1"] = row[store.Tombstone]{Record: grave}
		}, []string{"revive prune"}},
		{"rm is done", func(v *view) { v.deletedHere(5_000); v.definitions = nil }, []string{"forget"}},
		{"the engine lost it", func(v *view) { v.engine = nil }, []string{"come back lost"}},
		{"the engine deletes it and has not said so yet", func(v *view) {
			v.engine = nil
			v.missing = map[string]int64{"e1": v.now - lostAfter}
		}, nil},
		{"the engine deletes a local one and has not said so yet", func(v *view) {
			v.engine, v.definitions = nil, nil
			v.journal[0].Stage = StageLocal
			v.missing = map[string]int64{"e1": v.now - lostAfter}
		}, nil},
		{"Docker is still deleting it", func(v *view) { v.journal[0].Stage, v.journal[0].Since = StageGone, v.now-1000 }, nil},
		{"Docker gave up deleting it", func(v *view) { v.journal[0].Stage = StageGone }, []string{"keep"}},

		{"removing: this host must let go", func(v *view) { v.setState(store.NetworkRemoving) }, []string{"remove"}},
		{"removing: a container here refers to it", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.users["e1"] = []string{"web"}
		}, []string{"answer web"}},
		{"removing: gone here", func(v *view) { v.setState(store.NetworkRemoving); v.journal, v.engine = nil, nil }, []string{"answer"}},
		{"removing: others have not answered", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
		}, nil},
		{"removing: all answered", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
			v.removal("h2", store.Removal{Gone: true})
		}, []string{"bury"}},
		{"removing: a veto", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.removal("h2", store.Removal{Veto: "db runs"})
		}, []string{"revive db runs"}},
		{"removing: an earlier removal's answers", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
			v.removal("h2", store.Removal{Gone: true, At: 6})
		}, nil},
		{"removing: this host's answer to an earlier removal", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.removal("h1", store.Removal{Gone: true, At: 6})
		}, []string{"answer"}},
		{"removing: an earlier removal's veto", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.removal("h1", store.Removal{Gone: true})
			v.removal("h2", store.Removal{Veto: "db runs", At: 6})
		}, nil},
		{"removing: a reference beside an earlier removal's answer", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.refs["h2"] = refs("db")
			v.removal("h2", store.Removal{Gone: true, At: 6})
		}, []string{"revive h2"}},
		{"removing: a host that is away refers to it", func(v *view) {
			v.setState(store.NetworkRemoving)
			v.journal, v.engine = nil, nil
			v.refs["h9"] = refs("db")
		}, []string{"revive h9"}},

		{"removed while this host was away, unused", func(v *view) { v.bury() }, []string{"remove removed"}},
		{"removed while this host was away, used", func(v *view) { v.bury(); v.users["e1"] = []string{"web"} }, []string{"stage web"}},
		{"a replica that nobody bound before its definition was removed", func(v *view) {
			v.bury()
			v.journal[0].Stage, v.journal[0].UUID = StageSeen, "u2"
			e := v.engine["e1"]
			e.Labels = map[string]string{replicaLabel: "u1"}
			v.engine["e1"] = e
		}, []string{"remove removed"}},
		{"an orphan that is not used any more", func(v *view) { v.bury(); v.journal[0].Stage = StageOrphaned }, []string{"remove"}},
		{"an emptied store removes nothing", func(v *view) { v.definitions = nil }, []string{"commit"}},
		{"an emptied store, a replica", func(v *view) { v.definitions = nil; v.journal[0].Stage = StageReplica }, []string{"commit"}},
		{"the managed plugin leaves plain networks to the socket agent", func(v *view) {
			v.journal, v.engine, v.swarmOnly = nil, nil, true
		}, nil},
		{"replaced while this host was away", func(v *view) { v.setUUID("u2"); v.setSubnet("10.0.0.0/8") }, []string{"remove replaced"}},
		{"replaced by an equal one", func(v *view) { v.setUUID("u2") }, []string{"bind"}},

		{"overrides changed", func(v *view) {
			def := v.definitions["lan1"]
			parent := "eth2"
			def.Record.Overrides.Parent = &parent
			v.definitions["lan1"] = def
		}, []string{"override"}},
		{"a local network is left alone", func(v *view) { v.journal[0].Stage, v.definitions = StageLocal, nil }, nil},
		{"a local network's name is learned", func(v *view) {
			v.journal[0].Stage, v.journal[0].Name, v.definitions = StageLocal, "", nil
		}, []string{"stage"}},
		{"a replica made on a host labelled local", func(v *view) {
			v.journal[0].Stage = StageLocal
			e := v.engine["e1"]
			e.Labels = map[string]string{replicaLabel: "u1"}
			v.engine["e1"] = e
		}, []string{"bind"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := world()
			tt.bend(&v)
			steps := plan(v)
			var got []string
			for i, s := range steps {
				line := string(s.do)
				if i < len(tt.want) {
					if _, fragment, ok := strings.Cut(tt.want[i], line+" "); ok && strings.Contains(s.why, fragment) {
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
func (v *view) bury() {
	v.tombstones["u1"] = row[store.Tombstone]{Record: store.Tombstone{Network: v.definitions["lan1"].Record}}
	v.definitions = nil
}

// deletedHere makes lan1 one that Docker deleted so many milliseconds ago.
func (v *view) deletedHere(ago int64) {
	v.journal[0].Stage, v.journal[0].Since = StageGone, v.now-ago
	v.deleted = v.now - ago
	v.engine = nil
}

// madeAnother has another network of the name be made here just now.
func (v *view) madeAnother() {
	n := v.journal[0]
	n.ID, n.UUID, n.Stage, n.Since = "e2", "mine", StageSeen, v.now
	n.Pools = []store.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/8")}}
	v.journal = append(v.journal, n)
	v.engine = map[string]engine.Network{"e2": {ID: "e2", Name: "lan1", Driver: "gvlan", Options: map[string]string{"parent": "eth1"}}}
}

// enginePool makes the engine list a pool for lan1.
func (v *view) enginePool(subnet string) {
	e := v.engine["e1"]
	e.IPAM.Pools = []engine.Pool{{Subnet: netip.MustParsePrefix(subnet)}}
	v.engine["e1"] = e
}

// TestPlanFinishesAReturn: whoever brought a network back died before the
// stopped containers were attached. The old record alone would retire the
// definition: nobody refers to its id any more.
func TestPlanFinishesAReturn(t *testing.T) {
	v := world()
	old := v.journal[0]
	old.ID, old.Stage = "e0", StageGone
	v.journal = append(v.journal, old)
	steps := plan(v)
	if len(steps) != 1 || steps[0].do != doComeBack || steps[0].network.ID != "e0" || steps[0].engine.ID != "e1" {
		t.Errorf("plan: got %+v, want e0 to come back as e1", steps)
	}
}

// TestPlanForgetsARemovalThatEnded: a veto elsewhere kept the definition while
// this host's removal was under way.
func TestPlanForgetsARemovalThatEnded(t *testing.T) {
	v := world()
	v.journal[0].Removing = true
	if steps := plan(v); len(steps) != 1 || steps[0].do != doOverride {
		t.Errorf("plan: got %+v, want the mark taken away", steps)
	}
}

// TestPlanKeepsWhatDockerKept: a deletion whose answer Docker did not hear
// leaves the network in the engine.
func TestPlanKeepsWhatDockerKept(t *testing.T) {
	v := world()
	v.journal[0].Stage, v.journal[0].Since = StageGone, v.now-1
	if steps := plan(v); len(steps) != 0 {
		t.Errorf("plan: got %+v, want Docker to be waited for", steps)
	}
	v.journal[0].Since = v.now - listedAfter - 1
	if steps := plan(v); len(steps) != 1 || steps[0].do != doKeep {
		t.Errorf("plan: got %+v, want the network kept", steps)
	}
}

// TestPlanAsksTheSwarmItself: a manager without a quorum lists no network of
// the swarm, which is no reason to end what the swarm claims on one.
func TestPlanAsksTheSwarmItself(t *testing.T) {
	v := world()
	v.definitions, v.engine = nil, nil
	v.journal[0].ID, v.journal[0].UUID, v.journal[0].Stage = store.ManagerNetwork(swarmID), swarmID, StageSwarm
	if steps := plan(v); len(steps) != 0 {
		t.Errorf("plan: got %+v, want it left to who asks the swarm", steps)
	}
	v.journal[0].Removing = true // freed
	if steps := plan(v); len(steps) != 1 || steps[0].do != doForget {
		t.Errorf("plan: got %+v, want the network forgotten", steps)
	}
}
