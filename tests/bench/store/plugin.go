package main

import (
	"context"
	"net"

	"gvlan/tests/plugin"
)

// addresses are those of a pool that an agent is asked for.
type addresses struct {
	plugin *plugin.Client
	pool   string // "": none is open yet
	held   []string
}

// address asks for an address.
func (a *addresses) address(ctx context.Context) error {
	if a.pool == "" {
		var opened struct{ PoolID string }
		if err := a.plugin.Call(ctx, "IpamDriver.RequestPool", map[string]any{"AddressSpace": "gvlan-local", "Pool": "10.77.0.0/16"}, &opened); err != nil {
			return err
		}
		a.pool = opened.PoolID
	}
	var got struct{ Address string }
	if err := a.plugin.Call(ctx, "IpamDriver.RequestAddress", struct{ PoolID string }{a.pool}, &got); err != nil {
		return err
	}
	host, _, err := net.ParseCIDR(got.Address)
	if err != nil {
		return err
	}
	a.held = append(a.held, host.String())
	return nil
}

// release gives back what address was given: nobody's time is measured.
func (a *addresses) release(ctx context.Context) error {
	for _, address := range a.held {
		if err := a.plugin.Call(ctx, "IpamDriver.ReleaseAddress", map[string]string{"PoolID": a.pool, "Address": address}, nil); err != nil {
			return err
		}
	}
	a.held = nil
	return nil
}

// forget is for an agent that began anew: its pool has to be opened again.
func (a *addresses) forget() { a.pool, a.held = "", nil }
