package listen

import (
	"context"
	"net/netip"

	miekg "github.com/miekg/dns"

	"gvlan/dns/zone"
)

const ForwardInFlight = forwardInFlight

// Resolve answers a client's question with what the servers say.
func (f *Forwarder) Resolve(ctx context.Context, q *miekg.Msg, by zone.Asker, client netip.Addr) *miekg.Msg {
	return f.resolve(ctx, q, by, client)
}

// Check checks every server, as Run does.
func (f *Forwarder) Check(ctx context.Context) { f.check(ctx, f.upstreams) }
