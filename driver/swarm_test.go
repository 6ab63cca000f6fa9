package driver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/option"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// swarmID is of a network of the swarm: 25 digits of base 36.
const swarmID = "abcdefghijklmnopqrstuvwxy"

// leader is a host whose engine leads a swarm with one network and one task,
// and what the swarm's allocator was answered.
func leader(t testing.TB) (h *machine, poolID string) {
	h = newCluster(t).host("h1")
	ctx := context.Background()
	h.engine.AddNetwork(engine.Network{ID: swarmID, Name: "over", Driver: "gvlan", Scope: engine.ScopeSwarm, IPv4: true,
		IPAM: engine.IPAM{Driver: "gvlan", Pools: []engine.Pool{{Subnet: netip.MustParsePrefix("10.0.1.0/24")}}}})
	h.engine.SetSwarm(nil, []engine.Task{{ID: "t1", State: "running",
		Attachments: []engine.TaskAttachment{{NetworkID: swarmID, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.2/24")}}}}})
	opened, err := h.addresses.RequestPool(ctx, ipam.PoolRequest{Space: pool.GlobalSpace, Pool: "10.0.1.0/24"})
	h.must(err)
	gateway, err := h.addresses.RequestAddress(ctx, ipam.AddressRequest{PoolID: opened.ID,
		Options: map[string]string{"RequestAddressType": "com.docker.network.gateway"}})
	h.must(err)
	h.must(h.d.AllocateNetwork(ctx, swarmID, option.Options{Parent: "eth1"}, []pool.Data{
		{Subnet: netip.MustParsePrefix("10.0.1.0/24"), Gateway: gateway.Addr()}}))
	h.eventually("the network is defined", func() bool {
		n, defined := h.definition("over")
		return defined && n.UUID == swarmID && n.Scope == store.ScopeSwarm
	})
	task, err := h.addresses.RequestAddress(ctx, ipam.AddressRequest{PoolID: opened.ID})
	h.must(err)
	if task != netip.MustParsePrefix("10.0.1.2/24") {
		t.Fatalf("the task's address: got %s, want 10.0.1.2/24", task)
	}
	return h, opened.ID
}

// swarmGone makes the engine list neither network nor task.
func (h *machine) swarmGone() {
	h.Helper()
	h.engine.SetSwarm(nil, nil)
	h.must(h.engine.Engine.RemoveNetwork(context.Background(), swarmID))
}

// TestFreedNetworkTakesItsClaimsAlong: the swarm does not release the
// addresses of tasks that end after their network.
func TestFreedNetworkTakesItsClaimsAlong(t *testing.T) {
	h, pool := leader(t)
	h.swarmGone()
	h.must(h.d.FreeNetwork(context.Background(), swarmID))
	h.must(h.addresses.ReleasePool(context.Background(), pool))
	h.nothingLeft()
	if _, defined := h.definition("over"); defined {
		t.Error("the network is still defined")
	}
}

// TestLostNetworkIsFreed: the leader died before it was told to free the
// network, which the swarm no longer has.
func TestLostNetworkIsFreed(t *testing.T) {
	h, _ := leader(t)
	r := h.reconciler()
	r.round(0)
	r.round(time.Hour)
	r.held("10.0.1.2", true)
	h.swarmGone()
	r.round(0)
	r.round(host.SecondLook - time.Second)
	if _, defined := h.definition("over"); !defined {
		t.Fatal("the network was freed at first sight")
	}
	r.round(time.Second)
	h.nothingLeft()
}

// TestSwarmExcludeOutsideTheSubnets: a new network is refused and leaves
// nothing; one that is defined already is taken by every later leader.
func TestSwarmExcludeOutsideTheSubnets(t *testing.T) {
	h, _ := leader(t)
	ctx := t.Context()
	allocate := func(id, subnet string) error {
		_, err := h.addresses.RequestPool(ctx, ipam.PoolRequest{Space: pool.GlobalSpace, Pool: subnet, Options: map[string]string{"exclude": "10.9.9.9"}})
		h.must(err)
		return h.d.AllocateNetwork(ctx, id, option.Options{Parent: "eth1"}, []pool.Data{{Subnet: netip.MustParsePrefix(subnet)}})
	}
	fresh := "yxwvutsrqponmlkjihgfedcba"
	h.wantErr(allocate(fresh, "10.0.2.0/24"), "exclude=10.9.9.9 lies in no subnet", "10.0.2.0/24")
	if _, kept := ipam.AddressingOf(h.d.Memory, store.ManagerNetwork(fresh)); kept {
		t.Error("the refused network keeps its pool")
	}
	h.must(h.d.Memory.Change(func(c *journal.Change) error {
		h.addresses.Detach(c, store.ManagerNetwork(swarmID))
		c.Drop(journal.Network{ID: store.ManagerNetwork(swarmID)})
		return nil
	}))
	h.must(allocate(swarmID, "10.0.1.0/24"))
}

// TestSwarmInNoBlocks: its manager chooses addresses for all hosts.
func TestSwarmInNoBlocks(t *testing.T) {
	h, _ := leader(t)
	ctx := t.Context()
	allocate := func(subnet string, options map[string]string) error {
		_, err := h.addresses.RequestPool(ctx, ipam.PoolRequest{Space: pool.GlobalSpace, Pool: subnet, Options: options})
		h.must(err)
		l3 := option.Options{Parent: "eth1", Kind: link.Ipvlan, Mode: link.L3}
		return h.d.AllocateNetwork(ctx, "yxwvutsrqponmlkjihgfedcba", l3, []pool.Data{{Subnet: netip.MustParsePrefix(subnet)}})
	}
	h.wantErr(allocate("10.0.2.0/24", map[string]string{"block": "26"}), "--ipam-opt block=26: a swarm's manager chooses")
	h.must(allocate("10.0.2.0/24", nil))
	if bits, ok := journal.BlockIn(h.d.Memory, store.ManagerNetwork("yxwvutsrqponmlkjihgfedcba"), netip.MustParsePrefix("10.0.2.0/24")); ok {
		t.Errorf("its subnet is dealt out in blocks of /%d", bits)
	}
}

// TestLeaderAgain: a host that led before leads again. The swarm's allocator
// asks for a new pool, and never released the first.
func TestLeaderAgain(t *testing.T) {
	h, first := leader(t)
	ctx := t.Context()
	second, err := h.addresses.RequestPool(ctx, ipam.PoolRequest{Space: pool.GlobalSpace, Pool: "10.0.1.0/24"})
	h.must(err)
	ask := func(address string, options map[string]string) netip.Prefix {
		got, err := h.addresses.RequestAddress(ctx, ipam.AddressRequest{PoolID: second.ID, Address: address, Options: options})
		h.must(err)
		return got
	}
	gateway := ask("10.0.1.1", map[string]string{"RequestAddressType": "com.docker.network.gateway"})
	data := []pool.Data{{Subnet: netip.MustParsePrefix("10.0.1.0/24"), Gateway: gateway.Addr()}}
	for range 2 { // a repeated call changes nothing
		h.must(h.d.AllocateNetwork(ctx, swarmID, option.Options{Parent: "eth1"}, data))
	}
	if again := ask("10.0.1.2", nil); again != netip.MustParsePrefix("10.0.1.2/24") {
		t.Errorf("the running task's address: got %s", again)
	}
	fresh := ask("", nil)
	claims, err := h.addresses.ManagerClaims(ctx)
	h.must(err)
	var claimed []netip.Addr
	for _, c := range claims {
		claimed = append(claimed, c.Address)
	}
	if want := []netip.Addr{netip.MustParseAddr("10.0.1.2"), fresh.Addr()}; !slices.Equal(claimed, want) {
		t.Errorf("the swarm claims %v, want %v", claimed, want)
	}
	if all, _ := ipam.AddressingOf(h.d.Memory, store.ManagerNetwork(swarmID)); len(all.Pools) != 1 {
		t.Errorf("the network has the pools %v, want one", all.Pools)
	}
	h.swarmGone()
	h.must(h.d.FreeNetwork(ctx, swarmID))
	h.must(h.addresses.ReleasePool(ctx, second.ID))
	h.must(h.addresses.ReleasePool(ctx, first))
	h.nothingLeft()
}

// TestRefusedNetworkIsNamed: `docker network create` has returned by the time
// the swarm's leader is refused.
func TestRefusedNetworkIsNamed(t *testing.T) {
	h := newCluster(t).host("h1")
	h.engine.AddNetwork(engine.Network{ID: swarmID, Name: "over", Scope: engine.ScopeSwarm})
	h.engine.SetSwarm(nil, nil)
	h.d.Allocated(swarmID, errors.New("-o parnet is unknown: did you mean parent?"))
	h.d.Allocated("gone", errors.New("it was removed since"))
	r := h.reconciler()
	r.round(0)
	want := []string{"network over of the swarm was not made: -o parnet is unknown: did you mean parent? (docker network rm over, and make it again)"}
	if diff := cmp.Diff(want, h.d.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	h.d.Allocated(swarmID, nil)
	r.round(time.Minute)
	if got := h.d.Warnings(); len(got) > 0 {
		t.Errorf("once it is made: %v", got)
	}
}
