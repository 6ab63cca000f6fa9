package hosting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/join"
)

// How often papers are looked at beside every change of the store, and how long
// one look may take.
const (
	papersLook     = time.Minute
	papersPatience = 30 * time.Second
)

// papers are what this host proves itself with, and what it keeps for the
// cluster.
type papers struct {
	node, host string
	now        func() time.Time
	identity   *authority.Identity
	doors      *doors
	picture    *picture
	log        *slog.Logger
	// inStep reports whether the member that runs here, if one does, was started
	// with these roots.
	inStep func(roots []byte) bool

	mu        sync.Mutex
	kv        store.KV        // nil before begin
	custodian *join.Custodian // likewise
}

// begin says which store the papers are of.
func (p *papers) begin(kv store.KV) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kv, p.custodian = kv, join.NewCustodian(kv, p.identity, p.now, p.log)
}

// keeper is what this host does with the cluster's keys; ErrNoMember where it
// keeps none, join.ErrNotFounded before begin.
func (p *papers) keeper() (*join.Custodian, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, keeps, err := p.identity.Custody()
	switch {
	case err != nil:
	case !keeps:
		err = ErrNoMember
	case p.custodian == nil:
		err = join.ErrNotFounded
	}
	return p.custodian, err
}

// keep keeps this host's certificates, what it refuses and, on a member's
// host, its custody as the store wants them, until ctx ends.
func (p *papers) keep(ctx context.Context) error {
	said := ""
	for ctx.Err() == nil {
		changed := p.picture.now().changed
		once, cancel := context.WithTimeout(ctx, papersPatience)
		err := p.update(once)
		cancel()
		switch {
		case err == nil:
			said = ""
		case errors.Is(err, store.ErrUnavailable) || errors.Is(err, errNotInStep) || errors.Is(err, join.ErrChanged) || ctx.Err() != nil:
		case err.Error() != said:
			said = err.Error()
			p.log.Warn("this host's certificates are not as the cluster wants them: looked at again within a minute", "err", err)
		}
		if err != nil {
			store.Sleep(ctx, again)
			continue
		}
		timer := time.NewTimer(papersLook)
		select {
		case <-ctx.Done():
		case <-changed:
			store.Sleep(ctx, again) // several changes come together
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// update looks once. The order is that of join: roots and custody are taken
// over before a certificate is renewed, since a new one is the proof that they
// were.
func (p *papers) update(ctx context.Context) error {
	kv, custodian := p.kv, p.custodian
	_, keeps, err := p.identity.Custody()
	if err != nil {
		return err
	}
	if keeps {
		if err := p.updateCustody(ctx); err != nil {
			return err
		}
	}
	if _, err := join.TakeRoots(ctx, kv, p.identity); err != nil {
		return err
	}
	if keeps {
		if err := errors.Join(custodian.Refuse(ctx), join.Prune(ctx, kv, p.now())); err != nil {
			return err
		}
		if _, err := custodian.StepRoots(ctx); err != nil {
			return err
		}
	} else if refused, err := join.Refused(ctx, kv, p.now()); err != nil {
		return err
	} else {
		p.identity.SetRefused(refused)
	}
	if err := p.renew(ctx, keeps); err != nil {
		return err
	}
	return join.Settle(ctx, kv, p.identity)
}

// updateCustody founds what was begun here, and takes over what was rotated by
// another member.
func (p *papers) updateCustody(ctx context.Context) error {
	if _, err := join.Roots(ctx, p.kv); errors.Is(err, join.ErrNotFounded) {
		return p.custodian.Found(ctx)
	}
	ok, err := p.custodian.InStep(ctx)
	if err != nil || ok {
		return err
	}
	return p.custodian.Refresh(ctx, p.doors.asker, p.node)
}

// errNotInStep puts renewals off for the moment that a member needs to begin anew.
var errNotInStep = errors.New("the member on this host has yet to begin anew with the cluster's roots")

// renew replaces certificates that are due. A new one is the proof that this host
// knows the cluster's roots, after which others may show certificates of the
// newest: so its member has to know them first, which reads them once.
func (p *papers) renew(ctx context.Context, keeps bool) error {
	due, err := join.Due(ctx, p.kv, p.identity, p.now())
	if err != nil || !due.Node && !due.Member {
		return err
	}
	if keeps {
		roots, at, err := join.RootsNow(ctx, p.kv)
		if err != nil {
			return err
		}
		if !p.inStep(roots) {
			return errNotInStep
		}
		return p.own(ctx, store.Unchanged(store.RootsKey(), at))
	}
	return p.doors.each(func(door string) error { return p.doors.asker.Renew(ctx, door) })
}

// own has this host certify itself, as a node and as a member.
func (p *papers) own(ctx context.Context, while ...store.Cond) error {
	return p.custodian.Own(ctx, subjectOf(p.node, p.host, true), while...)
}

// forMember gets what a member needs before it starts: the cluster's keys, and a
// certificate as a member.
func (p *papers) forMember(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, papersPatience)
	defer cancel()
	if err := p.custodian.Refresh(ctx, p.doors.asker, p.node); err != nil {
		return fmt.Errorf("take over the cluster's keys: %w", err)
	}
	return p.own(ctx)
}

// revive certifies a member's host whose certificates ended while it was off:
// with the cluster's keys it need not ask anybody, and if all hosts were off
// nobody could answer. The store hears of it when it runs.
func (p *papers) revive() error {
	cert := p.identity.MemberCertificate()
	custody, keeps, err := p.identity.Custody()
	if err != nil || !keeps || cert != nil && p.now().Before(cert.NotAfter) {
		return err
	}
	newest := custody.Authorities[len(custody.Authorities)-1]
	return signOwn(p.identity, newest, subjectOf(p.node, p.host, true), p.now())
}

// subjectOf is this host as a certificate names it.
func subjectOf(node, host string, member bool) authority.Subject {
	subject := authority.Subject{Node: node, Member: member}
	if member {
		subject.Names, subject.Addresses = []string{host}, hostAddresses()
	}
	return subject
}

// signOwn gives this host both certificates before there is a store to record
// them in: Found and Own do that later.
func signOwn(id *authority.Identity, root *authority.Authority, subject authority.Subject, now time.Time) error {
	for _, member := range []bool{false, true} {
		csr, err := id.Request(member)
		if err != nil {
			return err
		}
		subject.Member = member
		cert, err := root.Sign(csr, subject, now)
		if err != nil {
			return err
		}
		if member {
			err = id.AcceptMember(cert.Raw)
		} else {
			err = id.Accept(cert.Raw, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hostAddresses are the addresses of this host, now.
func hostAddresses() []netip.Addr {
	var found []netip.Addr
	all, _ := net.InterfaceAddrs() // without them the fixed name still serves
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			found = append(found, prefix.Addr().WithZone(""))
		}
	}
	return found
}
