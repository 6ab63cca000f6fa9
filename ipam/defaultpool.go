package ipam

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cluster/store"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

// Docker's own default pools begin at 172.17.0.0/16, which docker0 has.
var (
	firstDefault = netip.MustParsePrefix("172.18.0.0/16")
	lastDefault  = netip.MustParsePrefix("172.31.0.0/16")
)

// takeDefault takes the next free default subnet, once for the cluster: one
// that no network has, that no route of this host overlaps and that nobody
// takes at the same moment. Engines up to 27 ask again and again within one
// create while the answer does not suit them; since each answer stays taken,
// none comes twice.
func (ps *pools) takeDefault(ctx context.Context, id *pool.ID, r PoolRequest) error {
	if r.SubPool != "" {
		return fmt.Errorf("--ip-range %s needs a --subnet", r.SubPool)
	}
	avoid, err := ps.usedSpans(ctx)
	if err != nil {
		return fmt.Errorf("choose a default subnet: %w", err)
	}
	for _, pools := range ps.defaultPools(r.V6) {
		for subnet := pools.First; ; subnet = following(subnet) {
			if !avoid.Overlaps(addrset.Of(subnet)) {
				taken, err := ps.reservations.putDefault(ctx, subnet, id.Nonce)
				if err != nil || taken {
					id.Subnet = subnet
					return err
				}
			}
			if subnet == pools.Last || !subnet.IsValid() {
				break
			}
		}
	}
	return ps.noDefault(ctx)
}

// noDefault says who has the default subnets: networks of the cluster by name,
// and hosts, whose local networks and unfinished creates have no definition.
func (ps *pools) noDefault(ctx context.Context) error {
	items, _, err := ps.list(ctx, store.DefaultPoolsSpan())
	if err != nil {
		return ps.unanswered(err)
	}
	defs, err := ps.definitions(ctx)
	if err != nil {
		return ps.unanswered(err)
	}
	called := map[string]string{}
	for _, def := range defs {
		called[def.UUID] = "network " + def.Name
	}
	nameless := map[string]int{} // by node: no definition has them
	var holders []string
	for _, it := range items {
		rec, err := store.Decode[store.DefaultPool](it)
		if err != nil {
			return err
		}
		if rec.Node != "" {
			nameless[rec.Node]++
		}
		for _, uuid := range rec.By {
			holders = append(holders, cmp.Or(called[uuid], "network "+uuid))
		}
	}
	slices.Sort(holders)
	holders = slices.Compact(holders)
	for _, node := range slices.Sorted(maps.Keys(nameless)) {
		holders = append(holders, fmt.Sprintf("host %s (%d: local networks, and creates that have not ended, which it gives back within two minutes while it is up)", ps.hostOf(ctx, node), nameless[node]))
	}
	if len(holders) == 0 {
		return errors.New("no default subnet is free: this host's routes cover them all; give one with --subnet, or others with --default-pools")
	}
	return fmt.Errorf("no default subnet is free: they are those of %s; give one with --subnet, or more with --default-pools", strings.Join(holders, ", "))
}

// following is the next subnet of the same length.
func following(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(pool.LastOf(subnet).Next(), subnet.Bits())
}

// usedSpans is everything a default subnet must keep clear of.
func (ps *pools) usedSpans(ctx context.Context) (*addrset.Set, error) {
	used, err := ps.subnetsIn(ctx, "")
	if err != nil {
		return nil, err
	}
	routes, err := ps.Routes()
	if err != nil {
		return nil, fmt.Errorf("read this host's routes: %w", err)
	}
	items, _, err := ps.list(ctx, store.DefaultPoolsSpan())
	if err != nil {
		return nil, err
	}
	avoid := &addrset.Set{}
	for _, u := range used {
		avoid.Add(addrset.Of(u.subnet))
	}
	for _, route := range routes {
		if route.Bits() > 0 {
			avoid.Add(addrset.Of(route))
		}
	}
	for _, it := range items {
		rec, err := store.Decode[store.DefaultPool](it)
		if err != nil {
			return nil, err
		}
		if subnet, err := netip.ParsePrefix(rec.Subnet); err == nil {
			avoid.Add(addrset.Of(subnet))
		}
	}
	return avoid, nil
}

// defaultPools returns the runs of a family.
func (ps *pools) defaultPools(v6 bool) []DefaultPools {
	var runs []DefaultPools
	for _, d := range ps.DefaultPools {
		if d.First.Addr().Is6() == v6 {
			runs = append(runs, d)
		}
	}
	switch {
	case len(runs) > 0:
		return runs
	case v6:
		return []DefaultPools{uniqueLocal(ps.Self.Cluster())}
	}
	return []DefaultPools{{First: firstDefault, Last: lastDefault}}
}

// uniqueLocal is the cluster's own IPv6 network: fd and a 40-bit global id
// (RFC 4193), the first bits of SHA-256(cluster uuid), in /64s.
func uniqueLocal(cluster string) DefaultPools {
	sum := sha256.Sum256([]byte(cluster))
	raw := [16]byte{0xfd}
	copy(raw[1:6], sum[:5])
	first := netip.PrefixFrom(netip.AddrFrom16(raw), 64)
	raw[6], raw[7] = 0xff, 0xff
	return DefaultPools{First: first, Last: netip.PrefixFrom(netip.AddrFrom16(raw), 64)}
}
