package audit_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/ipam/audit"
)

// now is the time of every audit here.
func now() time.Time { return time.Unix(1_000_000, 0) }

func put(t *testing.T, kv store.KV, ops ...store.Op) {
	t.Helper()
	if _, err := kv.Commit(t.Context(), store.Txn{Then: ops}); err != nil {
		t.Fatal(err)
	}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func leaseAt(address string, l store.Lease) store.Op {
	return store.Put(store.LeaseKey("default", addr(address)), store.Encode(l))
}

func endpointAt(node, id, address, mac string) store.Op {
	return store.Put(store.EndpointKey(node, id), store.Encode(store.Endpoint{
		Endpoint: id, Node: node, Network: "net-uuid", Name: "lan", Segment: "default", IPv4: address + "/24", MAC: mac, Container: store.Container{ID: "c", Name: "of-" + id},
	}))
}

func bound(node, endpoint string) store.Lease {
	return store.Lease{State: store.Leased, Kind: store.Dynamic, Node: node, Epoch: 1, Nonce: "0123456789abcdef", Network: "net-uuid", Endpoint: endpoint, Since: 1}
}

const mac = "02:00:00:00:00:07"

// healthy fills a store with a cluster that is well: h1 is connected, h2 away, h3
// is being evicted, h4 was, h5 comes back.
func healthy(t *testing.T, kv store.KV) {
	t.Helper()
	epoch := func(node string, e store.Epoch) store.Op { return store.Put(store.EpochKey(node), store.Encode(e)) }
	node := func(name string, networks ...store.NodeNetwork) store.Op {
		return store.Put(store.NodeKey(name), store.Encode(store.Node{Node: name, Host: name, Networks: networks}))
	}
	live := func(name string) store.Op {
		return store.Put(store.LiveKey(name), store.Encode(store.Live{Host: name}))
	}
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	local := store.NodeNetwork{UUID: "local-uuid", Name: "own", Segment: "default", Pools: []store.Pool{{Subnet: netip.MustParsePrefix("10.9.0.0/24")}}}
	put(t, kv,
		store.Put(store.MetaKey(), store.Encode(store.Meta{Schema: 1, UUID: "cluster"})),
		epoch("h1", store.Epoch{Epoch: 1}), node("h1", local), live("h1"), store.Put(store.LastKey("h1"), nil),
		epoch("h2", store.Epoch{Epoch: 1}), node("h2"),
		epoch("h3", store.Epoch{Epoch: 2, Evicted: true}), node("h3"),
		epoch("h4", store.Epoch{Epoch: 2, Evicted: true}), store.Put(store.LastKey("h4"), nil),
		epoch("h5", store.Epoch{Epoch: 3, Returning: true}), live("h5"),
		store.Put(store.NetworkKey("lan"), store.Encode(store.Network{UUID: "net-uuid", Name: "lan", State: store.NetworkActive,
			Created: store.Definition{Segment: "default", Pools: []store.Pool{{Subnet: subnet}}}})),
		store.Put(store.TombstoneKey("old-uuid"), store.Encode(store.Tombstone{Network: store.Network{UUID: "old-uuid"}})),
		store.Put(store.RemovalKey("old-uuid", "h1"), store.Encode(store.Removal{Node: "h1"})),
		store.Put(store.RemovalKey("old-uuid", "h4"), store.Encode(store.Removal{Node: "h4"})),
		store.Put(store.RefsKey("h1"), store.Encode(store.Refs{})),
	)
	put(t, kv,
		leaseAt("10.0.0.1", store.Lease{State: store.Reserved, By: []string{"net-uuid", "pool:1@h2"}}),
		leaseAt("10.0.0.7", bound("h1", "e1")), endpointAt("h1", "e1", "10.0.0.7", mac),
		store.Put(store.MACKey("default", mac), store.Encode(store.MAC{Node: "h1", Endpoint: "e1"})),
		leaseAt("10.0.0.8", bound("h2", "e2")), endpointAt("h2", "e2", "10.0.0.8", ""),
		leaseAt("10.0.0.9", bound("h1", "")),    // being given
		leaseAt("10.0.0.10", bound("h1", "e3")), // being given back
		leaseAt("10.0.0.11", bound("h2", "e4")), // owed by h2
		leaseAt("10.8.0.1", bound("h2", "")),    // another driver's
		leaseAt("10.9.0.2", bound("h1", "e5")), endpointAt("h1", "e5", "10.9.0.2", ""),
		leaseAt("10.0.0.12", bound("h3", "e6")), // its names went before its address, and before its hardware address
		store.Put(store.MACKey("default", "02:00:00:00:00:12"), store.Encode(store.MAC{Node: "h3", Endpoint: "e6"})),
		endpointAt("h5", "e7", "10.0.0.13", ""), // to be taken again
		leaseAt("10.0.0.14", store.Lease{State: store.Quarantined, Node: "h4", Since: 1}),
		store.Put(store.QuarantineKey("h4"), store.Encode(store.Quarantine{Node: "h4"})),
		leaseAt("10.0.0.15", store.Lease{State: store.Leased, Nonce: "n", Network: "overlay", Claims: &store.Claims{Manager: true}}),
		store.Put(store.CooldownKey("default", addr("10.0.0.16")), store.Encode(store.Cooldown{Since: now().Unix() - 3600})),
		store.Put(store.ReservationKey("default", addr("10.0.0.17")), store.Encode(store.Reservation{Network: "net-uuid", Name: "lan"})),
		store.Put(store.DefaultPoolKey(netip.MustParsePrefix("172.18.0.0/16")), store.Encode(store.DefaultPool{Subnet: "172.18.0.0/16", By: []string{"net-uuid"}})),
		store.Put(store.DefaultPoolKey(netip.MustParsePrefix("172.19.0.0/16")), store.Encode(store.DefaultPool{Subnet: "172.19.0.0/16", Node: "h2", Nonce: "1"})),
	)
}

// witness is this host's.
type witness struct {
	node     string
	has      []string // endpoints
	unleased bool     // it has no lease
}

func (w witness) Node() string                     { return w.node }
func (w witness) HasLease(string, netip.Addr) bool { return !w.unleased }
func (w witness) HasEndpoint(id string) bool       { return slices.Contains(w.has, id) }
func auditor(kv store.Backend) *audit.Auditor {
	return auditorOf(kv, witness{"h1", []string{"e1", "e3", "e5"}, false})
}
func auditorOf(kv store.Backend, own witness) *audit.Auditor {
	return &audit.Auditor{KV: kv, Grant: kv.Grant, Own: own, Gap: time.Nanosecond, Now: now}
}

// found is what an audit tells of, as "kind key".
func found(t *testing.T, a *audit.Auditor) (all []audit.Finding, told []string) {
	t.Helper()
	report, err := a.Audit(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		if f.Why == "" || f.Cure == "" {
			t.Errorf("%s %s has why %q and cure %q", f.Kind, f.Key, f.Why, f.Cure)
		}
		told = append(told, string(f.Kind)+" "+f.Key)
	}
	return report.Findings, told
}

func TestAHealthyClusterHasNoFinding(t *testing.T) {
	mem := storetest.NewMem()
	mem.PageSize = 3
	healthy(t, mem)
	if _, told := found(t, auditor(mem)); told != nil {
		t.Errorf("found %q", told)
	}
}

// faults are one record each, or a record that is missing.
var faults = map[string]struct {
	plant []store.Op
	want  []string
	left  []string // what no repair takes away
}{
	"an address that a stranger was about to give": {
		plant: []store.Op{leaseAt("10.0.0.20", bound("ghost", ""))},
		want:  []string{"lease /leases/default/4/0a000014"},
	},
	"an address of a stranger's endpoint that is no more": {
		plant: []store.Op{leaseAt("10.0.0.20", bound("ghost", "e9"))},
		want:  []string{"lease /leases/default/4/0a000014"},
	},
	"an address of an evicted node": {
		plant: []store.Op{leaseAt("10.0.0.20", bound("h4", "e9"))},
		want:  []string{"lease /leases/default/4/0a000014"},
	},
	"an address in no network": {
		plant: []store.Op{leaseAt("10.7.0.1", bound("ghost", ""))},
		want:  []string{"outside /leases/default/4/0a070001"},
	},
	"a task of a stranger": {
		plant: []store.Op{leaseAt("10.0.0.20", store.Lease{State: store.Leased, Node: "ghost", Endpoint: "e9", Claims: &store.Claims{Manager: true, Worker: true}})},
		want:  []string{"lease /leases/default/4/0a000014"},
	},
	"an endpoint of a stranger, without its address": {
		plant: []store.Op{endpointAt("ghost", "e9", "10.0.0.20", "")},
		want:  []string{"endpoint /endpoints/ghost/e9"},
	},
	"an endpoint of a stranger, with its address": {
		plant: []store.Op{endpointAt("ghost", "e9", "10.0.0.20", ""), leaseAt("10.0.0.20", bound("ghost", "e9"))},
		want:  []string{"node /endpoints/ghost/e9", "node /leases/default/4/0a000014"},
	},
	"an endpoint whose address was deleted": {
		plant: []store.Op{store.Delete(store.LeaseKey("default", addr("10.0.0.7")))},
		want:  []string{"endpoint /endpoints/h1/e1"},
		left:  []string{"endpoint /endpoints/h1/e1"},
	},
	"an endpoint of a host that is away whose address is another's": {
		plant: []store.Op{leaseAt("10.0.0.8", bound("h1", "e1"))},
		want:  []string{"endpoint /endpoints/h2/e2"},
		left:  []string{"endpoint /endpoints/h2/e2"},
	},
	"names of a container that this host has not": {
		plant: []store.Op{endpointAt("h1", "e8", "10.0.0.20", ""), leaseAt("10.0.0.20", bound("h1", "e8"))},
		want:  []string{"name /endpoints/h1/e8"},
	},
	"a rest that nobody ends": {
		plant: []store.Op{leaseAt("10.0.0.20", store.Lease{State: store.Quarantined, Node: "h9", Since: 1})},
		want:  []string{"quarantine /leases/default/4/0a000014"},
	},
	"a rest after a container without an end": {
		plant: []store.Op{store.Put(store.CooldownKey("default", addr("10.0.0.20")), store.Encode(store.Cooldown{Since: 1}))},
		want:  []string{"rest /leases/default/4/0a000014/cooldown"},
	},
	"a hardware address of an endpoint that is no more": {
		plant: []store.Op{store.Put(store.MACKey("default", "02:00:00:00:00:20"), store.Encode(store.MAC{Node: "h1", Endpoint: "e9"}))},
		want:  []string{"mac /macs/default/02:00:00:00:00:20"},
	},
	"what an operator reserved of a network that is not there": {
		plant: []store.Op{store.Put(store.ReservationKey("default", addr("10.0.0.20")), store.Encode(store.Reservation{Network: "lost-uuid", Name: "lost", For: "web"}))},
		want:  []string{"reservation /reservations/default/4/0a000014"},
	},
	"a reservation of a network that is not there": {
		plant: []store.Op{leaseAt("10.0.0.20", store.Lease{State: store.Reserved, By: []string{"lost-uuid"}})},
		want:  []string{"reservation /leases/default/4/0a000014"},
	},
	"a reservation of a network that was removed, beside another's": {
		plant: []store.Op{leaseAt("10.0.0.1", store.Lease{State: store.Reserved, By: []string{"old-uuid", "net-uuid"}})},
		want:  []string{"reservation /leases/default/4/0a000001"},
	},
	"a reservation of a create on a stranger": {
		plant: []store.Op{leaseAt("10.0.0.20", store.Lease{State: store.Reserved, By: []string{"pool:1@ghost"}})},
		want:  []string{"reservation /leases/default/4/0a000014"},
	},
	"a reservation for nobody": {
		plant: []store.Op{leaseAt("10.0.0.20", store.Lease{State: store.Reserved})},
		want:  []string{"reservation /leases/default/4/0a000014"},
	},
	"a default subnet of a network that is not there": {
		plant: []store.Op{store.Put(store.DefaultPoolKey(netip.MustParsePrefix("172.20.0.0/16")), store.Encode(store.DefaultPool{Subnet: "172.20.0.0/16", By: []string{"lost-uuid"}}))},
		want:  []string{"subnet /defaults/4/ac140000"},
	},
	"a default subnet of a create on an evicted node": {
		plant: []store.Op{store.Put(store.DefaultPoolKey(netip.MustParsePrefix("172.20.0.0/16")), store.Encode(store.DefaultPool{Subnet: "172.20.0.0/16", Node: "h4", Nonce: "1"}))},
		want:  []string{"subnet /defaults/4/ac140000"},
	},
	"a stranger's description": {
		plant: []store.Op{store.Put(store.NodeKey("ghost"), store.Encode(store.Node{Node: "ghost"}))},
		want:  []string{"node /nodes/ghost"},
	},
	"an evicted node's references": {
		plant: []store.Op{store.Put(store.RefsKey("h4"), store.Encode(store.Refs{}))},
		want:  []string{"node /refs/h4"},
	},
	"a stranger's answer to a removal": {
		plant: []store.Op{store.Put(store.RemovalKey("old-uuid", "ghost"), store.Encode(store.Removal{Node: "ghost"}))},
		want:  []string{"node /removals/old-uuid/ghost"},
	},
	"a record that says nothing": {
		plant: []store.Op{store.Put(store.LeaseKey("default", addr("10.0.0.20")), []byte("no record"))},
		want:  []string{"unreadable /leases/default/4/0a000014"},
		left:  []string{"unreadable /leases/default/4/0a000014"},
	},
	"names that say nothing": {
		plant: []store.Op{store.Put(store.EndpointKey("h1", "e9"), []byte("no record"))},
		want:  []string{"unreadable /endpoints/h1/e9"},
		left:  []string{"unreadable /endpoints/h1/e9"},
	},
	"an address of nobody": {
		plant: []store.Op{leaseAt("10.0.0.20", store.Lease{State: store.Leased})},
		want:  []string{"unreadable /leases/default/4/0a000014"},
		left:  []string{"unreadable /leases/default/4/0a000014"},
	},
}

func TestEachFaultIsFoundAndRepaired(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			mem := storetest.NewMem()
			healthy(t, mem)
			put(t, mem, fault.plant...)
			a := auditor(mem)
			all, told := found(t, a)
			if diff := cmp.Diff(fault.want, told); diff != "" {
				t.Fatalf("findings (-want +got):\n%s", diff)
			}
			for _, f := range all {
				got, err := a.Repair(t.Context(), f)
				if !f.Repairable && !errors.Is(err, audit.ErrNoRepair) || f.Repairable && (err != nil || got != audit.Repaired) {
					t.Errorf("repair of %s %s: %q, %v", f.Kind, f.Key, got, err)
				}
			}
			if _, told := found(t, a); !slices.Equal(fault.left, told) {
				t.Errorf("after the repair it finds %q, want %q", told, fault.left)
			}
		})
	}
}

// TestNothingInUseIsFreed: what an address becomes whose holder is not known to be
// dead is a rest, which ends where the LAN is silent.
func TestNothingInUseIsFreed(t *testing.T) {
	mem := storetest.NewMem()
	healthy(t, mem)
	put(t, mem, leaseAt("10.0.0.20", bound("ghost", "e9")), leaseAt("10.0.0.21", bound("ghost", "")))
	a := auditor(mem)
	all, _ := found(t, a)
	if len(all) != 2 {
		t.Fatalf("found %v, want two", all)
	}
	for _, f := range all {
		if got, err := a.Repair(t.Context(), f); err != nil || got != audit.Repaired {
			t.Fatalf("repair of %s: %q, %v", f.Key, got, err)
		}
		it, err := mem.Get(t.Context(), f.Key)
		if err != nil {
			t.Fatal(err)
		}
		if rec, err := store.Decode[store.Lease](it); err != nil || rec.State != store.Quarantined || rec.Node != "ghost" || rec.Since != now().Unix() {
			t.Errorf("%s is %+v, %v; want it to rest", f.Key, rec, err)
		}
	}
	for _, key := range []string{store.QuarantineKey("ghost"), store.RestKey("ghost")} {
		if _, err := mem.Get(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	mem.Advance(store.QuarantineRest + time.Minute)
	if _, err := mem.Get(t.Context(), store.RestKey("ghost")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the rest has no end: %v", err)
	}
}

// TestWhatCannotBeReadHidesNothing: who has what a network or a host of a newer
// gvlan says, nobody here knows, so nothing is taken for nobody's.
func TestWhatCannotBeReadHidesNothing(t *testing.T) {
	for _, key := range []string{store.NetworkKey("lan"), store.NodeKey("h1"), store.RefsKey("h1"), store.RemovalKey("old-uuid", "h1"), store.EpochKey("h2"), store.QuarantineKey("h4"), store.EndpointKey("h1", "e1"), store.MACKey("default", mac), store.LeaseKey("default", addr("10.0.0.7"))} {
		mem := storetest.NewMem()
		healthy(t, mem)
		put(t, mem, store.Put(key, []byte(`{"schema":2}`)))
		all, told := found(t, auditor(mem))
		if !slices.Contains(told, string(audit.KindUnreadable)+" "+key) {
			t.Errorf("%s is of a newer gvlan, and the audit tells of %v", key, told)
		}
		for _, f := range all {
			if f.Repairable || f.Key == key && !strings.Contains(f.Why, "upgrade this host") {
				t.Errorf("while %s is of a newer gvlan: %s: repairable %v, %s", key, f.Key, f.Repairable, f.Why)
			}
		}
	}
}

// TestARepairLeavesAloneWhatChanged since the audit: the record itself, or what it
// was judged by.
func TestARepairLeavesAloneWhatChanged(t *testing.T) {
	ghost := store.Put(store.EpochKey("ghost"), store.Encode(store.Epoch{Epoch: 1}))
	again := store.Put(store.NodeKey("h4"), store.Encode(store.Node{Node: "h4"}))
	for name, fault := range map[string]struct{ plant, meanwhile store.Op }{
		"an address, written again":        {leaseAt("10.0.0.20", bound("ghost", "")), leaseAt("10.0.0.20", bound("ghost", "e9"))},
		"an address, of a node that came":  {leaseAt("10.0.0.20", bound("ghost", "")), ghost},
		"an endpoint, of a node that came": {endpointAt("ghost", "e9", "10.0.0.20", ""), ghost},
		"names, written again":             {endpointAt("h4", "e9", "10.0.0.20", ""), endpointAt("h4", "e9", "10.0.0.21", "")},
		"names, of a node that is back":    {endpointAt("h4", "e9", "10.0.0.20", ""), again},
		"references, of a node that came":  {store.Put(store.RefsKey("ghost"), store.Encode(store.Refs{})), ghost},
		"a hardware address, whose endpoint came": {
			store.Put(store.MACKey("default", "02:00:00:00:00:20"), store.Encode(store.MAC{Node: "h1", Endpoint: "e9"})), endpointAt("h1", "e9", "10.0.0.20", ""),
		},
		"a reservation, of a network that was removed since": {
			leaseAt("10.0.0.20", store.Lease{State: store.Reserved, By: []string{"lost-uuid"}}), store.Put(store.TombstoneKey("lost-uuid"), store.Encode(store.Tombstone{})),
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := storetest.NewMem()
			healthy(t, mem)
			put(t, mem, fault.plant)
			a := auditor(mem)
			all, told := found(t, a)
			if len(all) != 1 || !all[0].Repairable {
				t.Fatalf("found %q, want one that can be repaired", told)
			}
			put(t, mem, fault.meanwhile)
			before, err := mem.Get(t.Context(), all[0].Key)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := a.Repair(t.Context(), all[0]); got != audit.Changed || err != nil {
				t.Errorf("repaired: %q, %v", got, err)
			}
			if after, err := mem.Get(t.Context(), all[0].Key); err != nil || after.Modified != before.Modified {
				t.Errorf("it was changed: %v", err)
			}
		})
	}
}

// TestWhatStandsOnceIsNoFinding: what was written between the looks, and what went.
func TestWhatStandsOnceIsNoFinding(t *testing.T) {
	for name, meanwhile := range map[string]store.Op{
		"written again": leaseAt("10.0.0.20", bound("ghost", "e9")),
		"its node came": store.Put(store.EpochKey("ghost"), store.Encode(store.Epoch{Epoch: 1})),
		"gone":          store.Delete(store.LeaseKey("default", addr("10.0.0.20"))),
	} {
		t.Run(name, func(t *testing.T) {
			mem := storetest.NewMem()
			healthy(t, mem)
			put(t, mem, leaseAt("10.0.0.20", bound("ghost", "")))
			report, err := auditor(mem).Audit(t.Context(), func(time.Duration) { put(t, mem, meanwhile) })
			if err != nil || len(report.Findings) != 0 {
				t.Errorf("found %v, %v", report.Findings, err)
			}
		})
	}
}

// TestWhatThisHostForgot: its agent is asked, and others' are not.
func TestWhatThisHostForgot(t *testing.T) {
	mem := storetest.NewMem()
	healthy(t, mem)
	want := []string{"lease /leases/default/4/0a000009", "lease /leases/default/4/0a00000a"}
	if _, told := found(t, auditorOf(mem, witness{"h1", []string{"e1", "e5"}, true})); !slices.Equal(told, want) {
		t.Errorf("found %q, want what is given and bound to nobody: %q", told, want)
	}
	if _, told := found(t, auditorOf(mem, witness{"h2", nil, true})); told != nil {
		t.Errorf("found %q by a host that is away", told)
	}
	put(t, mem, leaseAt("10.0.0.9", store.Lease{State: store.Leased, Node: "h1", Nonce: "n", Since: now().Unix() - 1}))
	if _, told := found(t, auditorOf(mem, witness{"h1", []string{"e1", "e3", "e5"}, true})); told != nil {
		t.Errorf("found %q, which was written just now", told)
	}
}

// TestNothingIsJudgedDuringARecovery: the nodes are writing what they hold.
func TestNothingIsJudgedDuringARecovery(t *testing.T) {
	mem := storetest.NewMem()
	healthy(t, mem)
	put(t, mem, leaseAt("10.0.0.20", bound("ghost", "")), store.Put(store.GateKey(), store.Encode(store.Gate{})))
	report, err := auditor(mem).Audit(t.Context(), nil)
	if err != nil || !report.Recovering || report.Findings != nil {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestAnAuditEndsWithItsContext(t *testing.T) {
	mem := storetest.NewMem()
	healthy(t, mem)
	put(t, mem, leaseAt("10.0.0.20", bound("ghost", "")))
	ctx, cancel := context.WithCancel(t.Context())
	a := auditor(mem)
	a.Gap = time.Hour
	if _, err := a.Audit(ctx, func(time.Duration) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
