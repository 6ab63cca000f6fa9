package crowd

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/ipam/pool"
)

// Size is how large the cluster is.
type Size struct {
	Nodes  int // h1, h2 ...
	Leases int // of containers web-0, web-1 ..., one after the other of each network and of each host
	// Networks are lan0, lan1 ..., of a /16 each: 10.0.0.0/16, 10.1.0.0/16 ...
	Networks int
}

// trails are how many records there are of what a host told.
const trails = 5

// Container is the name of a container, by its number.
func Container(i int) string { return fmt.Sprintf("web-%d", i) }

// MAC is the MAC address of a container, by its number.
func MAC(i int) string { return fmt.Sprintf("02:42:00:00:%02x:%02x", i>>8, i&255) }

// Address is the address of a container, by its number.
func (s Size) Address(i int) netip.Addr {
	host := i/s.Networks + 10
	return netip.AddrFrom4([4]byte{10, byte(i % s.Networks), byte(host >> 8), byte(host)})
}

// Fill writes what the hosts of such a cluster have written, and waits until the
// agent follows it.
func (a *Agent) Fill(ctx context.Context, s Size) error {
	items := map[string][]byte{}
	for n := range s.Networks {
		network := store.Network{
			UUID: fmt.Sprintf("b1f3a0c2-0000-4000-8000-%012d", n), Name: fmt.Sprintf("lan%d", n), State: store.NetworkActive, Scope: store.ScopeGlobal, Origin: "id1",
			Created: store.Definition{IPv4: true, Segment: pool.DefaultSegment, Options: map[string]string{"parent": "eth1"}, Pools: []store.Pool{{
				Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16), Gateway: netip.AddrFrom4([4]byte{10, byte(n), 0, 1}),
			}}},
		}
		items[store.NetworkKey(network.Name)] = store.Encode(network)
		items[store.LeaseKey(pool.DefaultSegment, network.Created.Pools[0].Gateway)] = store.Encode(store.Lease{State: store.Reserved, By: []string{network.UUID}})
	}
	now := time.Now()
	for n := 1; n <= s.Nodes; n++ {
		id := fmt.Sprintf("id%d", n)
		node := store.Node{Node: id, Host: fmt.Sprintf("h%d", n), Address: fmt.Sprintf("172.20.%d.%d", n/250, n%250+1), Version: "v1"}
		for i := range 4 {
			node.Interfaces = append(node.Interfaces, store.Interface{Name: fmt.Sprintf("eth%d", i), Kind: "device", Up: true, MTU: 1500, Addresses: []string{fmt.Sprintf("172.2%d.%d.%d/16", i, n/250, n%250+1)}})
		}
		for i := range s.Networks {
			node.Networks = append(node.Networks, store.NodeNetwork{UUID: fmt.Sprintf("b1f3a0c2-0000-4000-8000-%012d", i), Name: fmt.Sprintf("lan%d", i), Engine: fmt.Sprintf("%064d", i), State: "replica", Parent: "eth1"})
		}
		items[store.NodeKey(id)] = store.Encode(node)
		items[store.LiveKey(id)] = store.Encode(store.Live{Host: node.Host, Address: node.Address, Since: now.Unix()})
		items[store.EpochKey(id)] = store.Encode(store.Epoch{Epoch: 1, Host: node.Host})
	}
	told := map[string][]store.TrailEvent{} // by node
	for i := range s.Leases {
		node, network := fmt.Sprintf("id%d", i%s.Nodes+1), i%s.Networks
		addr := s.Address(i)
		e := store.Endpoint{
			Endpoint: fmt.Sprintf("%064x", i), Node: node, Network: fmt.Sprintf("b1f3a0c2-0000-4000-8000-%012d", network), Name: fmt.Sprintf("lan%d", network),
			Segment: pool.DefaultSegment, IPv4: addr.String() + "/16", MAC: MAC(i), Parent: "eth1", Since: now.Unix(),
			Sandbox: fmt.Sprintf("/var/run/docker/netns/%012x", i),
			Container: store.Container{ID: fmt.Sprintf("%064x", 1<<40+i), Name: Container(i), Aliases: []string{fmt.Sprintf("www-%d", i)},
				Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}},
		}
		items[store.EndpointKey(node, e.Endpoint)] = store.Encode(e)
		items[store.LeaseKey(pool.DefaultSegment, addr)] = store.Encode(store.Lease{
			State: store.Leased, Kind: store.Dynamic, Node: node, Epoch: 1, Nonce: fmt.Sprintf("%016x", i), Network: e.Network, Endpoint: e.Endpoint, Since: now.Unix(),
		})
		told[node] = append(told[node], store.TrailEvent{
			Kind: string(events.Given), At: now.Add(-2 * time.Hour).UnixMilli(), Network: e.Name, Segment: e.Segment, Address: addr, MAC: e.MAC, Container: e.Container.Name, Endpoint: e.Endpoint[52:],
		})
	}
	for node, all := range told {
		for i := range trails {
			part := all[len(all)*i/trails : len(all)*(i+1)/trails]
			items[store.TrailKey(node, now.Add(-time.Hour).UnixMilli()+int64(i))] = store.Encode(store.Trail{Node: node, Events: part})
		}
	}
	if err := a.write(ctx, items); err != nil {
		return err
	}
	return a.until(ctx, func(ctx context.Context) error {
		last := Container(s.Leases - 1)
		said, _, err := a.answer(ctx, "whois "+last)
		if err == nil && said == "" {
			err = fmt.Errorf("%s is not known yet", last)
		}
		return err
	})
}

// write writes them all, as fast as it goes.
func (a *Agent) write(ctx context.Context, items map[string][]byte) error {
	const each = 100 // of one transaction; etcd takes 128
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(8)
	var ops []clientv3.Op
	commit := func() {
		some := ops
		ops = nil
		group.Go(func() error {
			_, err := a.store.Txn(inGroup).Then(some...).Commit()
			return err
		})
	}
	for key, value := range items {
		if ops = append(ops, clientv3.OpPut("/gvlan/v1"+key, string(value))); len(ops) == each {
			commit()
		}
	}
	commit()
	return group.Wait()
}
