package answer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/ipam/addrset"
	"gvlan/ipam/survey"
)

// Subnets answers what a subnet looks like, address by address.
type Subnets struct{ Leases Leases }

// Register adds the route of the subnets to the server.
func (a Subnets) Register(server *api.Server) {
	server.Handle("GET "+api.SubnetRoute, a.show)
}

// show tells of the addresses of a subnet, or of a part of it, as they are or,
// while etcd does not answer, as they were when it last did.
func (a Subnets) show(r *http.Request) (any, error) {
	query := r.URL.Query()
	s, err := a.Leases.survey(r.Context())
	if err != nil {
		return nil, err
	}
	sub, at, err := subnetIn(s.Networks, query.Get("network"), query.Get("node"), query.Get("subnet"), query.Get("at"))
	if err != nil {
		return nil, err
	}
	segment := sub.Network.Segment
	grid, asOf, err := survey.Grid{}, time.Time{}, a.Leases.claimed(r.Context(), s)
	if err == nil {
		grid, err = a.gridNow(r.Context(), s, sub, at)
	}
	if errors.Is(err, store.ErrUnavailable) {
		if last, known := a.Leases.lastKnown(s); known {
			asOf = a.Leases.Roster.Directory.Known().Heard
			grid, err = s.GridOf(sub, at, last), nil
		}
	}
	if err != nil {
		return nil, err
	}
	called, view := api.CallNodes(a.Leases.Roster.Names()), a.Leases.viewer()
	v := api.SubnetView{
		Network: sub.Network.Name, Segment: segment, Node: sub.Network.Node, Subnet: sub.Pool.Subnet, At: grid.At,
		Empty: grid.Sparse, Counts: grid.Counts, AsOf: asOf,
	}
	if v.Node != "" {
		v.Host = called(v.Node)
	}
	for _, one := range grid.Addresses {
		v.Addresses = append(v.Addresses, view(listed(one)))
	}
	for _, b := range grid.Blocks {
		v.Blocks = append(v.Blocks, api.BlockView{Prefix: b.Prefix, Counts: b.Counts, Size: addrset.Of(b.Prefix).Size()})
	}
	return v, nil
}

// gridNow is the picture of a part of a subnet as etcd has it.
func (a Subnets) gridNow(ctx context.Context, s *survey.Survey, sub *survey.Subnet, at netip.Prefix) (survey.Grid, error) {
	awaited, err := a.awaited(ctx, sub.Network.Segment)
	if err != nil {
		return survey.Grid{}, err
	}
	kv, end := a.Leases.promptly(ctx)
	defer end()
	return s.Grid(ctx, kv, sub, at, awaited)
}

// subnetIn is the subnet that somebody asks for, and the part of it. Of a network's
// only one the prefix may be left out.
func subnetIn(networks *survey.Networks, network, node, subnet, at string) (sub *survey.Subnet, part netip.Prefix, err error) {
	named := networks.Named(network)
	if node != "" {
		named = slices.DeleteFunc(named, func(n *survey.Network) bool { return n.Node != "" && n.Node != node })
	}
	if len(named) == 0 {
		return nil, part, api.Missing(fmt.Errorf("no such network: %s (gvlan network ls lists them)", network))
	}
	var all []string
	for _, n := range named {
		for i := range n.Subnets {
			if has := n.Subnets[i].Pool.Subnet; sub == nil && (subnet == has.String() || subnet == "" && len(n.Subnets) == 1) {
				sub = &n.Subnets[i]
			}
			all = append(all, n.Subnets[i].Pool.Subnet.String())
		}
	}
	if sub == nil {
		return nil, part, api.Missing(fmt.Errorf("network %s has no subnet %q: it has %s", network, subnet, strings.Join(all, ", ")))
	}
	if at == "" {
		return sub, sub.Pool.Subnet, nil
	}
	part, err = netip.ParsePrefix(at)
	if err != nil || part != part.Masked() || part.Bits() < sub.Pool.Subnet.Bits() || !sub.Pool.Subnet.Contains(part.Addr()) {
		return nil, part, api.Refuse(fmt.Errorf("at=%s is no part of subnet %s: give a prefix within it, or leave it out", at, sub.Pool.Subnet))
	}
	return sub, part, nil
}

// awaited are the addresses of a segment that stopped containers will want again;
// none while etcd does not answer.
func (a Subnets) awaited(ctx context.Context, segment string) (map[netip.Addr]survey.Entry, error) {
	kept, err := a.Leases.kept(ctx, func(k store.Kept) bool { return k.Segment == segment })
	all := map[netip.Addr]survey.Entry{}
	for _, k := range kept {
		one := survey.Entry{
			Address: k.Address, Segment: segment, State: survey.Awaited, Network: k.network, NetworkID: k.Network,
			Container: k.Name, ContainerID: k.Container, Node: k.node, Why: "it is stopped: others are given the address last",
		}
		if k.Gone {
			one.Why = "it was removed: others than the next container of its name are given the address last"
		}
		if k.Since > 0 {
			one.Since = time.Unix(k.Since, 0)
		}
		all[k.Address] = one
	}
	return all, err
}
