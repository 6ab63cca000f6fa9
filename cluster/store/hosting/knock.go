package hosting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/join"
)

// Pauses between two askings, and how long one may take.
const (
	knockAgain   = 2 * time.Second  // of who wants to join
	doorsAgain   = 10 * time.Second // of who hears nothing of the store
	doorPatience = 10 * time.Second
)

func (s *Store) asker() *join.Asker { return join.NewAsker(s.identity, s.config.Now) }

// knockToJoin asks to be let in until it is, which is ErrMoved, or ctx ends.
func (s *Store) knockToJoin(ctx context.Context) error {
	said := ""
	for ctx.Err() == nil {
		token, err := s.config.Token()
		if err == nil {
			once, cancel := context.WithTimeout(ctx, doorPatience)
			err = s.Join(once, s.config.Join, token)
			cancel()
		}
		if err == nil {
			s.log.Info("this host was let into the cluster", "by", s.config.Join)
			return ErrMoved
		}
		s.setTrouble(fmt.Errorf("%w: joining %s: %w", store.ErrUnavailable, s.config.Join, err))
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			s.log.Warn("this host is not let into the cluster yet: asked again every two seconds", "by", s.config.Join, "err", err)
		}
		store.Sleep(ctx, knockAgain)
	}
	return nil
}

// followStore keeps the picture and the book as the store says, until ctx ends.
func (s *Store) followStore(ctx context.Context, kv store.KV, client *etcd.Client) error {
	return store.Follow(ctx, kv, store.OwnSpan(), func(c store.Change) {
		s.picture.apply(c)
		s.take(s.picture.now().places(), client)
	})
}

// take notes where the members are, here, for the client and for the next start.
func (s *Store) take(places []join.Place, client *etcd.Client) {
	if len(places) == 0 || slices.Equal(places, s.Places()) {
		return
	}
	err := errors.Join(client.SetEndpoints(clients(places)), s.rewrite(func(b *Book) { b.Members = places }))
	if err != nil {
		s.log.Error("the members' addresses are not kept: after a restart this host looks at those it knew", "err", err)
	}
}

// askDoors asks members' doors where the members are while the store itself says
// nothing to this host, and so learns whether this host is still of the cluster.
func (s *Store) askDoors(ctx context.Context, kv store.KV, client *etcd.Client) error {
	for store.Sleep(ctx, doorsAgain) {
		once, cancel := context.WithTimeout(ctx, doorPatience)
		_, err := kv.Get(once, store.MetaKey())
		cancel()
		if err == nil || errors.Is(err, store.ErrNotFound) {
			s.endExile()
			continue
		}
		var places []join.Place
		once, cancel = context.WithTimeout(ctx, doorPatience)
		err = s.askEach(func(door string) (err error) {
			places, err = s.asker().Members(once, door)
			return err
		})
		cancel()
		switch {
		case errors.Is(err, join.ErrRevoked), errors.Is(err, join.ErrCertificate):
			s.exile(err)
		case err == nil:
			s.endExile()
			s.take(places, client)
		}
	}
	return nil
}

// ErrExiled: this host was evicted, or its certificate ended while it was away.
var ErrExiled = errors.New("this host is of its cluster no more: gvlan join lets it in again")

func (s *Store) exile(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		s.log.Error("this host is of its cluster no more: what runs goes on, no new address is given; gvlan join lets it in again", "err", why)
		s.trouble = fmt.Errorf("%w: %w: %w", store.ErrUnavailable, ErrExiled, why)
	}
}

func (s *Store) endExile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.trouble, ErrExiled) {
		s.trouble = nil
	}
}
