package dns

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	forwardInFlight = 1024
	forwardClient   = 64               // of those, for one client that is not this host
	probeEvery      = time.Second      // a server that failed
	loopEvery       = 30 * time.Second // a server that led back to us: it may have been set right

	// loopSuffix ends the names that are sent out to see whether they come
	// back. It is below no domain that somebody could rightly route to us.
	loopSuffix = ".loop-check.gvlan."
)

// Forwarder asks other servers what the zone does not know: the next one
// when one fails, none twice for the same question at the same time, and
// never one that leads back here.
type Forwarder struct {
	upstreams []*upstream
	log       *slog.Logger
	cache     *cache
	flights   singleflight.Group
	slots     chan struct{}
	places    *places // of slots, for clients on the LAN
}

// NewForwarder returns a forwarder to these servers, in order of
// preference. Addresses in own are this agent's listeners, and are left out;
// it fails when no other is left.
func NewForwarder(servers, own []netip.AddrPort, log *slog.Logger) (*Forwarder, error) {
	f := &Forwarder{log: log, cache: newCache(time.Now), slots: make(chan struct{}, forwardInFlight), places: newPlaces(forwardClient, forwardInFlight/2)}
	for _, addr := range servers {
		if slices.Contains(own, addr) {
			continue
		}
		f.upstreams = append(f.upstreams, &upstream{addr: addr})
	}
	if len(f.upstreams) == 0 {
		return nil, fmt.Errorf("dns upstreams %v: there is none but this agent's own listener; name another server", servers)
	}
	return f, nil
}

// Run probes servers that failed until they answer, and sees to it that none
// leads back to us. It returns nil when ctx ends.
func (f *Forwarder) Run(ctx context.Context) error {
	probes := time.NewTicker(probeEvery)
	defer probes.Stop()
	loops := time.NewTicker(loopEvery)
	defer loops.Stop()
	f.checkLoops(ctx, f.upstreams)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-probes.C:
			f.probe(ctx)
		case <-loops.C:
			f.checkLoops(ctx, slices.DeleteFunc(slices.Clone(f.upstreams), func(u *upstream) bool { return !u.loops.Load() }))
		}
	}
}

// probe asks every server that failed for the root's name servers.
func (f *Forwarder) probe(ctx context.Context) {
	q := new(miekg.Msg).SetQuestion(".", miekg.TypeNS)
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	f.each(f.upstreams, func(u *upstream) {
		if u.failed.Load() && !u.loops.Load() {
			if _, err := u.exchange(ctx, q); err == nil {
				u.failed.Store(false)
			}
		}
	})
}

// checkLoops sends each server a name of its own; caught sees it when it
// comes back.
func (f *Forwarder) checkLoops(ctx context.Context, suspects []*upstream) {
	ctx, cancel := context.WithTimeout(ctx, forwardBudget)
	defer cancel()
	f.each(suspects, func(u *upstream) {
		nonce := strings.ToLower(rand.Text())
		u.nonce.Store(&nonce)
		_, err := u.exchange(ctx, new(miekg.Msg).SetQuestion(nonce+loopSuffix, miekg.TypeHINFO))
		if u.nonce.Load() == &nonce && err == nil {
			u.loops.Store(false)
		}
	})
}

// each runs visit for every server at once and waits for all.
func (f *Forwarder) each(servers []*upstream, visit func(*upstream)) {
	done := make(chan struct{})
	for _, u := range servers {
		go func() { visit(u); done <- struct{}{} }()
	}
	for range servers {
		<-done
	}
}

// caught tells whether a name is one of ours that came back, and shuts out
// the server it was sent to.
func (f *Forwarder) caught(name string) bool {
	nonce, ok := strings.CutSuffix(strings.ToLower(name), loopSuffix)
	if !ok {
		return false
	}
	for _, u := range f.upstreams {
		if sent := u.nonce.Load(); sent != nil && *sent == nonce {
			u.nonce.Store(nil)
			if !u.loops.Swap(true) {
				f.log.Error("dns upstream sends questions back to this agent and is not used; give it another server, or name another with --dns-upstream",
					"upstream", u.addr)
			}
		}
	}
	return true
}

var errNoUpstream = errors.New("no dns upstream answered")

// resolve answers a client's question with what the servers say, or SERVFAIL
// within forwardBudget.
func (f *Forwarder) resolve(ctx context.Context, q *miekg.Msg, by Asker, client netip.Addr) *miekg.Msg {
	key := keyOf(q)
	m := f.cache.get(key, false)
	if m == nil {
		m = f.fetch(ctx, key, client)
	}
	if m == nil {
		if m = f.cache.get(key, true); m == nil || m.Rcode == miekg.RcodeServerFailure {
			m = new(miekg.Msg)
			m.Rcode = miekg.RcodeServerFailure
		}
	}
	return readdress(q, m, by)
}

// fetch asks the servers, once for all who want to know the same. Clients on
// the LAN take half of the slots together and a few each, so that one which
// floods us leaves others theirs; no client is this host itself.
func (f *Forwarder) fetch(ctx context.Context, key cacheKey, client netip.Addr) *miekg.Msg {
	if client.IsValid() {
		if !f.places.take(client) {
			return nil
		}
		defer f.places.give(client)
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil
	}
	v, err, _ := f.flights.Do(fmt.Sprint(key), func() (any, error) {
		m := askAll(context.WithoutCancel(ctx), f.upstreams, key.message())
		if m == nil {
			m = new(miekg.Msg)
			m.Rcode = miekg.RcodeServerFailure
			f.cache.put(key, m)
			return nil, errNoUpstream
		}
		f.cache.put(key, m)
		return m, nil
	})
	if err != nil {
		return nil
	}
	return v.(*miekg.Msg).Copy()
}

// message is the question a key stands for, as it is sent to servers.
func (k cacheKey) message() *miekg.Msg {
	m := new(miekg.Msg).SetQuestion(k.name, k.qtype)
	m.CheckingDisabled = k.unchecked
	return m.SetEdns0(UDPSize, k.dnssec)
}

// readdress makes a server's answer the answer to this very question.
func readdress(q, m *miekg.Msg, by Asker) *miekg.Msg {
	out := new(miekg.Msg).SetRcode(q, m.Rcode&0xf)
	out.AuthenticatedData = m.AuthenticatedData
	out.Answer, out.Ns = m.Answer, m.Ns
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != miekg.TypeOPT {
			out.Extra = append(out.Extra, rr)
		}
	}
	for _, rr := range out.Answer {
		if hdr := rr.Header(); strings.EqualFold(hdr.Name, q.Question[0].Name) {
			hdr.Name = q.Question[0].Name
		}
	}
	return Fit(q, out, by)
}
