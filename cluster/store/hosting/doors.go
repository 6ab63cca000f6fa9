package hosting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/join"
)

// How often doors are asked while the store says nothing, and how long asking may
// take.
const (
	doorsAgain   = 10 * time.Second
	doorPatience = 10 * time.Second
)

// doors are those of the members this host knows.
type doors struct {
	node     string // this one
	identity *authority.Identity
	asker    *join.Asker
	book     *bookOf
	picture  *picture
	trouble  *trouble
	now      func() time.Time
	log      *slog.Logger

	mu   sync.Mutex
	last time.Time // the store answered; zero: not since this host's agent started
}

// heard notes that the store answered.
func (d *doors) heard(now time.Time) {
	d.mu.Lock()
	d.last = now
	d.mu.Unlock()
	d.since(0)
}

// missed notes that it did not.
func (d *doors) missed() {
	d.mu.Lock()
	last := d.last
	d.mu.Unlock()
	if d.book.read().Heard == 0 && !last.IsZero() {
		d.since(last.Unix())
	}
}

// lastHeard is when the store last answered; zero: that is not known.
func (d *doors) lastHeard() time.Time {
	if heard := d.book.read().Heard; heard != 0 {
		return time.Unix(heard, 0)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// since writes down when the store was last heard; 0: it is heard.
func (d *doors) since(heard int64) {
	if d.book.read().Heard == heard {
		return
	}
	if err := d.book.rewrite(func(b *Book) { b.Heard = heard }); err != nil {
		d.log.Error("how long the store has been silent is not written down", "err", err)
	}
}

// each asks one door after the other until one answers as wanted; else it returns
// what all said. This host's own is left out: it has no more than the host has.
func (d *doors) each(ask func(door string) error) error {
	var failed error
	for _, p := range d.book.read().Members {
		if p.Node == d.node {
			continue
		}
		err := ask(p.Door)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		failed = fmt.Errorf("%w: no other member is known", join.ErrUnreachable)
	}
	return failed
}

// take notes where the members are, here, for the client and for the next start.
func (d *doors) take(places []join.Place, client *etcd.Client) {
	if len(clients(places)) == 0 || slices.Equal(places, d.book.read().Members) {
		return
	}
	err := errors.Join(client.SetEndpoints(clients(places)), d.book.rewrite(func(b *Book) {
		if !b.Moved { // else it is another store's book already
			b.Members = places
		}
	}))
	if err != nil {
		d.log.Error("the members' addresses are not kept: after a restart this host looks at those it knew", "err", err)
	}
}

// ErrExiled: this host was evicted, or its certificate ended, or the authority was
// replaced, while it was away.
var ErrExiled = errors.New("this host is of its cluster no more: gvlan join lets it in again")

// ask asks where the members are while the store itself says nothing to this
// host, and so learns whether this host is still of the cluster.
func (d *doors) ask(ctx context.Context, kv store.KV, client *etcd.Client) error {
	for store.Sleep(ctx, doorsAgain) {
		once, cancel := context.WithTimeout(ctx, doorPatience)
		_, err := kv.Get(once, store.MetaKey())
		cancel()
		if err == nil || errors.Is(err, store.ErrNotFound) {
			d.trouble.set(ErrExiled, nil)
			d.heard(d.now())
			continue
		}
		d.missed()
		var places []join.Place
		err = d.each(func(door string) (err error) {
			once, cancel := context.WithTimeout(ctx, doorPatience) // each: those that are off say nothing
			defer cancel()
			places, err = d.asker.Members(once, door)
			return err
		})
		switch {
		case errors.Is(err, join.ErrRevoked), errors.Is(err, join.ErrCertificate), errors.Is(err, join.ErrNotTrusted):
			known := errors.Is(d.trouble.get(), ErrExiled)
			if d.trouble.set(ErrExiled, fmt.Errorf("%w: %w: %w", store.ErrUnavailable, ErrExiled, err)) && !known {
				d.log.Error("this host is of its cluster no more: what runs goes on, no new address is given; gvlan join lets it in again", "err", err)
			}
		case err == nil:
			d.trouble.set(ErrExiled, nil)
			d.take(places, client)
		}
	}
	return nil
}
