package hosting

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
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

// keepPapers keeps this host's certificates, what it refuses and, on a member's
// host, its custody as the store wants them, until ctx ends.
func (s *Store) keepPapers(ctx context.Context, kv store.KV) error {
	said := ""
	for ctx.Err() == nil {
		changed := s.picture.now().changed
		once, cancel := context.WithTimeout(ctx, papersPatience)
		err := s.updatePapers(once, kv)
		cancel()
		switch {
		case err == nil:
			said = ""
		case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
		case err.Error() != said:
			said = err.Error()
			s.log.Warn("this host's certificates are not as the cluster wants them: looked at again within a minute", "err", err)
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

// updatePapers looks once. The order is that of join: roots and custody are taken
// over before a certificate is renewed, since a new one is the proof that they
// were.
func (s *Store) updatePapers(ctx context.Context, kv store.KV) error {
	custodian := join.NewCustodian(kv, s.identity, s.config.Now)
	_, keeps, err := s.identity.Custody()
	if err != nil {
		return err
	}
	if keeps {
		if err := s.updateCustody(ctx, kv, custodian); err != nil {
			return err
		}
	}
	if _, err := join.TakeRoots(ctx, kv, s.identity); err != nil {
		return err
	}
	if keeps {
		if err := errors.Join(custodian.Refuse(ctx), join.Prune(ctx, kv, s.config.Now())); err != nil {
			return err
		}
		if _, err := custodian.StepRoots(ctx); err != nil {
			return err
		}
	} else if refused, err := join.Refused(ctx, kv, s.config.Now()); err != nil {
		return err
	} else {
		s.identity.SetRefused(refused)
	}
	if err := s.renew(ctx, kv, custodian, keeps); err != nil {
		return err
	}
	return join.Settle(ctx, kv, s.identity)
}

// updateCustody founds what was begun here, and takes over what was rotated by
// another member.
func (s *Store) updateCustody(ctx context.Context, kv store.KV, custodian *join.Custodian) error {
	if _, err := join.Roots(ctx, kv); errors.Is(err, join.ErrNotFounded) {
		return custodian.Found(ctx)
	}
	ok, err := custodian.InStep(ctx)
	if err != nil || ok {
		return err
	}
	return custodian.Refresh(ctx, s.asker(), s.config.Node)
}

// renew replaces certificates that are due.
func (s *Store) renew(ctx context.Context, kv store.KV, custodian *join.Custodian, keeps bool) error {
	due, err := join.Due(ctx, kv, s.identity, s.config.Now())
	if err != nil {
		return err
	}
	switch {
	case !due.Node && !due.Member:
		return nil
	case keeps:
		return custodian.Own(ctx, s.subject(true))
	}
	return s.askEach(func(door string) error { return s.asker().Renew(ctx, door) })
}

// askEach asks one door after the other until one answers as wanted.
func (s *Store) askEach(ask func(door string) error) error {
	failed := fmt.Errorf("%w: no member is known", join.ErrUnreachable)
	for _, p := range s.Places() {
		if p.Node == s.config.Node && s.HasMember() {
			continue // its own door has no more than this host has
		}
		if failed = ask(p.Door); failed == nil {
			return nil
		}
	}
	return failed
}

// subject is this host as a certificate names it.
func (s *Store) subject(member bool) authority.Subject {
	subject := authority.Subject{Node: s.config.Node, Member: member}
	if member {
		subject.Names, subject.Addresses = []string{s.config.Host}, hostAddresses()
	}
	return subject
}

// signOwn gives this host both certificates before there is a store to record
// them in: Found and Own do that later.
func (s *Store) signOwn(root *authority.Authority) error {
	for _, member := range []bool{false, true} {
		csr, err := s.identity.Request(member)
		if err != nil {
			return err
		}
		cert, err := root.Sign(csr, s.subject(member), s.config.Now())
		if err != nil {
			return err
		}
		if member {
			err = s.identity.AcceptMember(cert.Raw)
		} else {
			err = s.identity.Accept(cert.Raw, nil)
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
