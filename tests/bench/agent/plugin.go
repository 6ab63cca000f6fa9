package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"gvlan/tests/plugin"
)

// requests are those that an agent is measured by.
type requests struct {
	plugin *plugin.Client
	put    func(ctx context.Context, key string) error // one bare put of the agent's etcd
}

// measure times requests and puts in turns, and leaves so many leases.
func (q *requests) measure(ctx context.Context) error {
	pool, err := q.open(ctx)
	if err != nil {
		return err
	}
	var empty, address, put []time.Duration
	for i := range rounds {
		took, err := timed(func() error {
			return q.plugin.Call(ctx, "NetworkDriver.EndpointOperInfo", struct{ EndpointID string }{"none"}, nil)
		})
		if err != nil {
			return err
		}
		empty = append(empty, took)
		var got struct{ Address string }
		took, err = timed(func() error {
			return q.plugin.Call(ctx, "IpamDriver.RequestAddress", struct{ PoolID string }{pool}, &got)
		})
		if err != nil {
			return fmt.Errorf("ask for an address: %w", err)
		}
		address = append(address, took)
		took, err = timed(func() error { return q.put(ctx, fmt.Sprintf("/bench/%d", i)) })
		if err != nil {
			return err
		}
		put = append(put, took)
		if i >= leases {
			host, _, _ := net.ParseCIDR(got.Address)
			release := map[string]string{"PoolID": pool, "Address": host.String()}
			if err := q.plugin.Call(ctx, "IpamDriver.ReleaseAddress", release, nil); err != nil {
				return err
			}
		}
	}
	fmt.Printf("BENCH address_over_empty_request %.1f\n", ratio(median(address), median(empty)))
	fmt.Printf("BENCH address_over_etcd_put %.2f\n", ratio(median(address), median(put)))
	return nil
}

// open opens a pool as soon as the agent has its etcd.
func (q *requests) open(ctx context.Context) (pool string, err error) {
	for {
		var opened struct{ PoolID string }
		err := q.plugin.Call(ctx, "IpamDriver.RequestPool", map[string]any{"AddressSpace": "gvlan-local", "Pool": "10.77.0.0/16"}, &opened)
		if err == nil {
			return opened.PoolID, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("open a pool: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
