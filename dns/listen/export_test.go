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

// CheckLoops looks whether a server leads back to us, as Run does.
func (f *Forwarder) CheckLoops(ctx context.Context) { f.checkLoops(ctx) }

// Fail has every server have failed the last time.
func (f *Forwarder) Fail() {
	for _, u := range f.upstreams {
		u.failed.Store(true)
	}
}
