package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// plugin speaks to an agent as Docker does.
type plugin struct {
	socket string
	put    func(ctx context.Context, key string) error // one bare put of the agent's etcd
	http   *http.Client
}

// call is one plugin request; answer is filled with what came back.
func (p *plugin) call(ctx context.Context, method string, body, answer any) error {
	if p.http == nil {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		}
		p.http = &http.Client{Transport: &http.Transport{DialContext: dial}}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/"+method, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	response, err := p.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// given is an answer to RequestPool or RequestAddress.
type given struct{ PoolID, Address, Error string }

// measure times requests and puts in turns, and leaves so many leases.
func (p *plugin) measure(ctx context.Context) error {
	pool, err := p.open(ctx)
	if err != nil {
		return err
	}
	var empty, address, put []time.Duration
	for i := range rounds {
		took, err := timed(func() error {
			return p.call(ctx, "NetworkDriver.EndpointOperInfo", struct{ EndpointID string }{"none"}, &struct{}{})
		})
		if err != nil {
			return err
		}
		empty = append(empty, took)
		var got given
		took, err = timed(func() error {
			return p.call(ctx, "IpamDriver.RequestAddress", struct{ PoolID string }{pool.PoolID}, &got)
		})
		if err = got.fault(err); err != nil {
			return fmt.Errorf("ask for an address: %w", err)
		}
		address = append(address, took)
		took, err = timed(func() error { return p.put(ctx, fmt.Sprintf("/bench/%d", i)) })
		if err != nil {
			return err
		}
		put = append(put, took)
		if i >= leases {
			host, _, _ := net.ParseCIDR(got.Address)
			release := map[string]string{"PoolID": pool.PoolID, "Address": host.String()}
			if err := p.call(ctx, "IpamDriver.ReleaseAddress", release, &struct{}{}); err != nil {
				return err
			}
		}
	}
	fmt.Printf("BENCH address_over_empty_request %.1f\n", ratio(median(address), median(empty)))
	fmt.Printf("BENCH address_over_etcd_put %.2f\n", ratio(median(address), median(put)))
	return nil
}

// open opens a pool as soon as the agent has its etcd.
func (p *plugin) open(ctx context.Context) (given, error) {
	for {
		var pool given
		err := p.call(ctx, "IpamDriver.RequestPool", map[string]any{"AddressSpace": "gvlan-local", "Pool": "10.77.0.0/16"}, &pool)
		if err = pool.fault(err); err == nil {
			return pool, nil
		}
		select {
		case <-ctx.Done():
			return given{}, fmt.Errorf("open a pool: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// fault is the call's error, or the answer's.
func (g given) fault(err error) error {
	if err == nil && g.Error != "" {
		return errors.New(g.Error)
	}
	return err
}

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
