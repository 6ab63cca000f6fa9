package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"
)

// Timing of questions to upstream servers.
const (
	forwardBudget = 3 * time.Second        // in all: Docker's resolver waits four for one server
	hedgeAfter    = 250 * time.Millisecond // then the next server is asked too
	downBudget    = 500 * time.Millisecond // when every server failed the last time
)

// upstream is one server questions are forwarded to.
type upstream struct {
	addr   netip.AddrPort
	failed atomic.Bool // did not answer the last time
	loops  atomic.Bool // leads back to us
	nonce  atomic.Pointer[string]
}

// reply is one upstream's outcome.
type reply struct {
	from *upstream
	m    *miekg.Msg
	err  error
}

// useful tells whether an answer settles the question: a server that fails
// or refuses leaves it to the next one.
func (r reply) useful() bool {
	return r.err == nil && r.m.Rcode != miekg.RcodeServerFailure && r.m.Rcode != miekg.RcodeRefused
}

// exchange asks one server, over TCP when the UDP answer was cut.
func (u *upstream) exchange(ctx context.Context, q *miekg.Msg) (*miekg.Msg, error) {
	q = q.Copy()
	q.Id = miekg.Id()
	for _, network := range []string{"udp", "tcp"} {
		client := &miekg.Client{Net: network, Timeout: forwardBudget, UDPSize: UDPSize}
		m, _, err := client.ExchangeContext(ctx, q, u.addr.String())
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", u.addr, err)
		}
		if len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.Question[0].Name) || m.Question[0].Qtype != q.Question[0].Qtype {
			return nil, fmt.Errorf("ask %s: the answer is to another question", u.addr)
		}
		if !m.Truncated || network == "tcp" {
			return m, nil
		}
	}
	return nil, nil // not reached: the second round returns
}

// inOrder returns the servers to ask, those that answered last time first.
func inOrder(all []*upstream) (order []*upstream, down bool) {
	down = true
	for _, u := range all {
		if !u.loops.Load() {
			order = append(order, u)
			down = down && u.failed.Load()
		}
	}
	slices.SortStableFunc(order, func(a, b *upstream) int {
		switch fa, fb := a.failed.Load(), b.failed.Load(); {
		case fa == fb:
			return 0
		case fa:
			return 1
		}
		return -1
	})
	return order, down
}

// askAll asks one server after the other, the next as soon as one failed or
// let hedgeAfter pass, and returns the first useful answer; else the last
// answer at all, or nil. When every server failed the last time it asks all
// at once, and not for long.
func askAll(ctx context.Context, all []*upstream, q *miekg.Msg) *miekg.Msg {
	order, down := inOrder(all)
	budget := forwardBudget
	if down {
		budget = downBudget
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	replies := make(chan reply, len(order))
	asked := 0
	next := func() {
		if asked < len(order) {
			u := order[asked]
			asked++
			go func() {
				m, err := u.exchange(ctx, q)
				replies <- reply{u, m, err}
			}()
		}
	}
	for next(); down && asked < len(order); {
		next()
	}
	return await(ctx, order, replies, next, &asked)
}

// await takes replies in until one is useful, and has the next server asked
// when one is slow or of no use.
func await(ctx context.Context, order []*upstream, replies <-chan reply, next func(), asked *int) (last *miekg.Msg) {
	slow := time.NewTicker(hedgeAfter)
	defer slow.Stop()
	for answered := 0; answered < len(order); {
		select {
		case <-slow.C:
			if *asked < len(order) {
				// The next question need not wait for it; a probe or a late
				// answer takes this back.
				order[*asked-1].failed.Store(true)
				next()
			}
		case r := <-replies:
			answered++
			r.from.failed.Store(r.err != nil)
			if r.useful() {
				return r.m
			}
			if r.err == nil {
				last = r.m
			}
			next()
		case <-ctx.Done():
			return last
		}
	}
	return last
}
