package listen

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/serve"
	"gvlan/dns/zone"
)

const (
	forwardBudget   = 3 * time.Second        // of a question in all: Docker's resolver waits four for one server
	downBudget      = 500 * time.Millisecond // of a question when every server failed the last time
	forwardInFlight = 1024                   // questions
	forwardClient   = 64                     // of those, for one client that is not this host
	probeEvery      = time.Second            // a server that failed
	loopEvery       = 30 * time.Second       // every server: one may lead back to us since

	// loopSuffix ends the names that are sent out to see whether they come
	// back. It is below no domain that somebody could rightly route to us.
	loopSuffix = ".loop-check.gvlan."
)

// Forwarder asks other servers what the zone does not know: one after the
// other until one has an answer, and never one that leads back here. It
// remembers no answers: who asks has a cache, and so have the servers.
type Forwarder struct {
	upstreams []*upstream // in order of preference
	log       *slog.Logger
	slots     chan struct{}
	quota     *serve.Quota // of slots, for clients on the LAN
}

// upstream is one server questions are forwarded to.
type upstream struct {
	addr   netip.AddrPort
	failed atomic.Bool            // did not answer the last time
	loops  atomic.Bool            // leads back to us
	nonce  atomic.Pointer[string] // of the name that was sent to see whether it does
}

// NewForwarder returns a forwarder to these servers, in order of
// preference. Addresses in own are this agent's listeners, and are left out;
// it fails when no other is left.
func NewForwarder(servers, own []netip.AddrPort, log *slog.Logger) (*Forwarder, error) {
	f := &Forwarder{log: log, slots: make(chan struct{}, forwardInFlight), quota: serve.NewQuota(forwardClient, forwardInFlight/2)}
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

// Run probes servers that failed until they answer, and looks now and then
// whether one leads back to us. It returns nil when ctx ends.
func (f *Forwarder) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { repeat(ctx, probeEvery, f.probe) })
	group.Go(func() { repeat(ctx, loopEvery, f.checkLoops) })
	group.Wait()
	return nil
}

// repeat does something now and in every interval until ctx ends.
func repeat(ctx context.Context, every time.Duration, do func(context.Context)) {
	turns := time.NewTicker(every)
	defer turns.Stop()
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return
		case <-turns.C:
		}
	}
}

// probe asks every server that failed for the root's name servers, which any
// resolver that works has at hand.
func (f *Forwarder) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	var group sync.WaitGroup
	for _, u := range f.upstreams {
		if !u.failed.Load() || u.loops.Load() {
			continue
		}
		group.Go(func() {
			if _, err := u.exchange(ctx, new(miekg.Msg).SetQuestion(".", miekg.TypeNS)); err == nil {
				u.failed.Store(false)
			}
		})
	}
	group.Wait()
}

// checkLoops sends each server a name of its own, and takes one in again whose
// answer came without caught having seen the name. A server may look long for
// a name that nobody has.
func (f *Forwarder) checkLoops(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, forwardBudget)
	defer cancel()
	var group sync.WaitGroup
	for _, u := range f.upstreams {
		group.Go(func() {
			nonce := strings.ToLower(rand.Text())
			u.nonce.Store(&nonce)
			_, err := u.exchange(ctx, new(miekg.Msg).SetQuestion(nonce+loopSuffix, miekg.TypeHINFO))
			if err == nil && u.nonce.Load() == &nonce {
				u.loops.Store(false)
			}
		})
	}
	group.Wait()
}

// caught reports whether a name is one of ours that came back, and shuts out
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

// resolve answers a client's question with what the servers say, or SERVFAIL
// within forwardBudget. Clients on the LAN take half of the slots together and
// a few each, so that one which floods us leaves others theirs; no client is
// this host itself.
func (f *Forwarder) resolve(ctx context.Context, q *miekg.Msg, by zone.Asker, client netip.Addr) *miekg.Msg {
	failure := new(miekg.Msg).SetRcode(q, miekg.RcodeServerFailure)
	if client.IsValid() {
		if !f.quota.Acquire(client) {
			return zone.Fit(q, failure, by)
		}
		defer f.quota.Release(client)
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return zone.Fit(q, failure, by)
	}
	m := f.ask(ctx, q)
	if m == nil {
		return zone.Fit(q, failure, by)
	}
	return readdress(q, m, by)
}

// ask asks one server after the other until one settles the question, each
// for its share of the time that is left. It returns the last answer where
// none does, and nil where there is none. Where every server failed the last
// time there is little time: questions must not pile up until one is back.
func (f *Forwarder) ask(ctx context.Context, q *miekg.Msg) (last *miekg.Msg) {
	query := new(miekg.Msg).SetQuestion(q.Question[0].Name, q.Question[0].Qtype)
	query.CheckingDisabled = q.CheckingDisabled
	opt := q.IsEdns0()
	query.SetEdns0(zone.UDPSize, opt != nil && opt.Do())

	order, down := f.order()
	budget := forwardBudget
	if down {
		budget = downBudget
	}
	deadline := time.Now().Add(budget)
	for i, u := range order {
		share := time.Until(deadline) / time.Duration(len(order)-i)
		ctx, cancel := context.WithTimeout(ctx, share)
		m, err := u.exchange(ctx, query)
		cancel()
		u.failed.Store(err != nil)
		if err != nil {
			continue
		}
		if m.Rcode != miekg.RcodeServerFailure && m.Rcode != miekg.RcodeRefused {
			return m
		}
		last = m
	}
	return last
}

// order returns the servers to ask, those that failed the last time after the
// others. down reports whether all of them did.
func (f *Forwarder) order() (servers []*upstream, down bool) {
	var well, failed []*upstream
	for _, u := range f.upstreams {
		switch {
		case u.loops.Load():
		case u.failed.Load():
			failed = append(failed, u)
		default:
			well = append(well, u)
		}
	}
	return append(well, failed...), len(well) == 0
}

// exchange asks one server, over TCP when the UDP answer was cut.
func (u *upstream) exchange(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
	m, err := u.exchangeOver(ctx, "udp", q)
	if err == nil && m.Truncated {
		m, err = u.exchangeOver(ctx, "tcp", q)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", u.addr, err)
	}
	return m, nil
}

func (u *upstream) exchangeOver(ctx context.Context, network string, q *miekg.Msg) (*miekg.Msg, error) {
	q = q.Copy()
	q.Id = miekg.Id()
	client := &miekg.Client{Net: network, Timeout: forwardBudget, UDPSize: zone.UDPSize}
	m, _, err := client.ExchangeContext(ctx, q, u.addr.String())
	if err != nil {
		return nil, err
	}
	if len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name) || m.Question[0].Qtype != q.Question[0].Qtype {
		return nil, errors.New("the answer is to another question")
	}
	return m, nil
}

// readdress makes a server's answer the answer to this very question.
func readdress(q, m *miekg.Msg, by zone.Asker) *miekg.Msg {
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
	return zone.Fit(q, out, by)
}
