package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// plugin speaks to an agent as Docker does.
type plugin struct {
	socket string
	http   *http.Client
	pool   string   // "": none is open yet
	held   []string // addresses
}

// given is an answer to RequestPool or RequestAddress.
type given struct{ PoolID, Address, Err, Error string }

// call is one plugin request.
func (p *plugin) call(ctx context.Context, method string, body any) (got given, err error) {
	if p.http == nil {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		}
		p.http = &http.Client{Transport: &http.Transport{DialContext: dial}}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return got, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/"+method, bytes.NewReader(raw))
	if err != nil {
		return got, err
	}
	response, err := p.http.Do(request)
	if err != nil {
		return got, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		return got, fmt.Errorf("%s: %w", method, err)
	}
	if said := got.Err + got.Error; said != "" {
		return got, errors.New(said)
	}
	return got, nil
}

// address asks for an address.
func (p *plugin) address(ctx context.Context) error {
	if p.pool == "" {
		pool, err := p.call(ctx, "IpamDriver.RequestPool", map[string]any{"AddressSpace": "gvlan-local", "Pool": "10.77.0.0/16"})
		if err != nil {
			return err
		}
		p.pool = pool.PoolID
	}
	got, err := p.call(ctx, "IpamDriver.RequestAddress", struct{ PoolID string }{p.pool})
	if err != nil {
		return err
	}
	host, _, err := net.ParseCIDR(got.Address)
	if err != nil {
		return err
	}
	p.held = append(p.held, host.String())
	return nil
}

// release gives back what address was given: nobody's time is measured.
func (p *plugin) release(ctx context.Context) error {
	for _, address := range p.held {
		if _, err := p.call(ctx, "IpamDriver.ReleaseAddress", map[string]string{"PoolID": p.pool, "Address": address}); err != nil {
			return err
		}
	}
	p.held = nil
	return nil
}

// forget is for an agent that began anew: its pool has to be opened again.
func (p *plugin) forget() { p.pool, p.held = "", nil }
