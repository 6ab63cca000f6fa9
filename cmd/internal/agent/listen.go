package agent

import (
	"context"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"gvlan/dns/listen"
	"gvlan/dns/update"
)

// serveNames answers the host and the LAN, where that is wanted. An address
// that cannot be had is reported and left: containers do not need it.
func (p *parts) serveNames(ctx context.Context) error {
	if !p.config.DNS.On {
		return nil
	}
	forward, err := p.forwarder()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if forward != nil {
		group.Go(func() error { return forward.Run(ctx) })
	}
	listener := listen.New(listen.Config{Zone: p.names.zone, Forward: forward, Allow: p.config.DNS.Allow})
	for _, address := range p.config.DNS.Listen {
		packets, streams, err := listen.Open(ctx, address)
		if err != nil {
			p.log.Error("names are not served on an address of --dns-listen", "address", address, "error", err)
			continue
		}
		group.Go(func() error { return listener.Serve(ctx, packets, streams) })
	}
	return group.Wait()
}

// forwarder asks --dns-upstream, nil without any.
func (p *parts) forwarder() (*listen.Forwarder, error) {
	if len(p.config.DNS.Upstream) == 0 {
		return nil, nil
	}
	return listen.NewForwarder(addrPorts(p.config.DNS.Upstream), addrPorts(p.config.DNS.Listen), p.log)
}

// addrPorts reads addresses that the check of the configuration let through.
func addrPorts(texts []string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, text := range texts {
		if at, err := netip.ParseAddrPort(text); err == nil {
			all = append(all, at)
		}
	}
	return all
}

// pushNames keeps a LAN's own DNS server told of this host's containers
// (RFC 2136), where --dns-update-server names one.
func (p *parts) pushNames(ctx context.Context) error {
	u := p.config.DNS.Update
	if u.Server == "" {
		return nil
	}
	server, err := netip.ParseAddrPort(u.Server)
	if err != nil {
		return err
	}
	updater, err := update.New(p.names.zone, update.Config{
		Server: server, Zone: u.Zone, KeyName: u.Key, Secret: u.Secret,
	}, p.journal.Bucket("dns-updates"), p.log)
	if err != nil {
		return err
	}
	return updater.Run(ctx)
}
