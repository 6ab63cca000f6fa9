package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// spread is the same request in subnets that are full to several degrees, and
// of several sizes, in turns.
func spread(ctx context.Context, b *bench, e *etcd) error {
	h, err := e.host(ctx, "h1")
	if err != nil {
		return err
	}
	var subnets []string
	for i, percent := range []int{0, 50, 90, 99} {
		for _, subnet := range []string{fmt.Sprintf("10.%d.0.0/24", 100+i), fmt.Sprintf("10.%d.0.0/16", 110+i)} {
			if err := e.occupy(ctx, netip.MustParsePrefix(subnet), percent); err != nil {
				return err
			}
			subnets = append(subnets, subnet)
		}
	}
	if err := compare(ctx, b, h, "occupancy_p50_spread", subnets); err != nil {
		return err
	}
	return compare(ctx, b, h, "size_p50_spread", []string{"10.1.0.0/29", "10.1.1.0/28", "10.1.2.0/24", "10.2.0.0/16", "11.0.0.0/12", "12.0.0.0/8", "fd00:1::/64"})
}

// compare says how far the medians of these subnets lie apart.
func compare(ctx context.Context, b *bench, h *host, name string, subnets []string) error {
	const each = 60
	networks := make([]*network, len(subnets))
	for i, subnet := range subnets {
		n, err := h.network(ctx, subnet, nil)
		if err != nil {
			return err
		}
		if err := n.mirrored(ctx); err != nil {
			return fmt.Errorf("%s: %w", subnet, err)
		}
		networks[i] = n
	}
	took := make([][]time.Duration, len(subnets))
	for range b.rounds * each {
		for _, i := range rand.Perm(len(networks)) {
			n := networks[i]
			var addr netip.Addr
			one, err := timed(func() (err error) {
				addr, err = n.ask(ctx)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", subnets[i], err)
			}
			took[i] = append(took[i], one)
			if err := n.release(ctx, addr); err != nil {
				return err
			}
		}
	}
	p50 := make([]float64, len(subnets))
	for i := range took {
		p50[i] = ms(percentile(took[i], 50))
		fmt.Printf("# %s %s: p50 %.3f ms\n", name, subnets[i], p50[i])
	}
	b.report.most(name, slices.Max(p50)/slices.Min(p50), 1.10)
	return nil
}
