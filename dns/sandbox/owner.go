package sandbox

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/serve"
	"gvlan/dns/zone"
)

// What finding out about a sandbox's other networks may cost.
const (
	lookEvery   = time.Second            // between two looks at the sandbox's addresses
	ownerMemory = 2 * time.Second        // that a verdict, or an older look, is believed
	ownerBudget = 500 * time.Millisecond // for Docker's resolver, or another's look, before our own answer is given
	ownerNames  = 256                    // verdicts of one sandbox
)

// owners decides who answers a bare name in a sandbox that is on networks
// of other drivers too: what Docker's resolver knows of those comes before
// what we know of ours.
type owners struct {
	looked atomic.Pointer[time.Time] // nil: never
	mixed  atomic.Bool               // on a network that is not ours

	mu      sync.Mutex
	looking chan struct{}      // closed when the look that is under way ends; nil: none is
	memory  map[string]verdict // by folded name
}

// verdict is who answers a name.
type verdict struct {
	docker bool // and not us
	at     time.Time
}

// alone reports whether the sandbox is known, right now, to be on our networks
// only.
func (r *resolver) alone() bool {
	return r.lookedWithin(lookEvery) && !r.mixed.Load()
}

// docker reports whether a bare name that we know belongs to another network
// of the sandbox.
func (r *resolver) docker(ctx context.Context, name string, scope zone.Scope, from serve.Client) bool {
	if !r.look(ctx, scope) {
		return false
	}
	name = strings.ToLower(name)
	if v, ok := r.remembered(name); ok {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, ownerBudget)
	defer cancel()
	v := r.holdsElsewhere(ctx, name, miekg.TypeA, scope, from) || r.holdsElsewhere(ctx, name, miekg.TypeAAAA, scope, from)
	r.remember(name, v)
	return v
}

// look reports whether any address in the sandbox is on no network of ours.
// One question at a time goes to see, since that takes a thread for as long
// as others hold the kernel's lock of interfaces. The others wait for it,
// unless what it saw last is as young as what is remembered of names.
func (r *resolver) look(ctx context.Context, scope zone.Scope) bool {
	done, first := r.startLook()
	switch {
	case first:
		defer r.endLook(done)
		r.see(scope)
	case done != nil && !r.lookedWithin(ownerMemory):
		ctx, cancel := context.WithTimeout(ctx, ownerBudget)
		defer cancel()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
	return r.mixed.Load()
}

// lookedWithin reports whether the last look is no older than that.
func (o *owners) lookedWithin(age time.Duration) bool {
	at := o.looked.Load()
	return at != nil && time.Since(*at) < age
}

// startLook returns the look that is under way, and whether it is the
// caller's to make and end; nil when none is needed.
func (o *owners) startLook() (done chan struct{}, first bool) {
	if o.lookedWithin(lookEvery) {
		return nil, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.looking != nil:
		return o.looking, false
	case o.lookedWithin(lookEvery): // ended meanwhile
		return nil, false
	}
	o.looking = make(chan struct{})
	return o.looking, true
}

func (o *owners) endLook(done chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.looking = nil
	close(done)
}

// see looks at the sandbox's addresses. When that fails, what was seen last
// stays.
func (r *resolver) see(scope zone.Scope) {
	var addrs []net.Addr
	err := r.enter(func() (err error) {
		addrs, err = net.InterfaceAddrs()
		return err
	})
	if err != nil {
		return
	}
	mixed := false
	for _, addr := range addrs {
		p, perr := netip.ParsePrefix(addr.String())
		if a := p.Addr().Unmap(); perr == nil && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !r.zone.Covers(scope, a) {
			mixed = true
		}
	}
	r.mixed.Store(mixed)
	now := time.Now()
	r.looked.Store(&now)
}

// holdsElsewhere asks Docker's resolver whether a name has an address that
// is on no network of ours.
func (r *resolver) holdsElsewhere(ctx context.Context, name string, qtype uint16, scope zone.Scope, from serve.Client) bool {
	query, err := new(miekg.Msg).SetQuestion(name, qtype).Pack()
	if err != nil {
		return false
	}
	raw, err := r.relay.exchange(ctx, query, from, false)
	var m miekg.Msg
	if err != nil || m.Unpack(raw) != nil || m.Rcode != miekg.RcodeSuccess {
		return false
	}
	for _, rr := range m.Answer {
		var ip net.IP
		switch rr := rr.(type) {
		case *miekg.A:
			ip = rr.A
		case *miekg.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok && !r.zone.Covers(scope, addr.Unmap()) {
			return true
		}
	}
	return false
}

func (o *owners) remembered(name string) (docker, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.memory[name]
	return v.docker, ok && time.Since(v.at) < ownerMemory
}

func (o *owners) remember(name string, docker bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.memory == nil || len(o.memory) >= ownerNames {
		o.memory = make(map[string]verdict)
	}
	o.memory[name] = verdict{docker, time.Now()}
}
