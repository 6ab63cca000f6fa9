package hosting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/members"
	"gvlan/cluster/store/session"
)

// Anew is a new life of the store that this host is to begin.
type Anew struct {
	Life store.Life `json:"life"`
	// Snapshot is the file to begin it with, which is deleted after; "": the copy
	// that the member here has.
	Snapshot string `json:"snapshot,omitempty"`
	Why      string `json:"why"` // nothing is given until everybody has written again what it holds
}

// beginPatience is how long the store may take to start alone on this host.
const beginPatience = 2 * time.Minute

// quorumPatience is how long the store may take to answer before it may be said to
// be lost.
const quorumPatience = 6 * time.Second

// ErrBeginning: the new life of the store has not begun yet.
var ErrBeginning = errors.New("the store is being made anew")

// ErrAnswers: the store is not lost.
var ErrAnswers = errors.New("the store answers")

// Loss is what may be lost with a new life of the store.
type Loss struct {
	Life  store.Life // that begins; From is known once it has
	Heard time.Time  // the store last answered this host; zero: it answers, or that is not known
}

// Lost is how many changes a host has seen, at revision known, since a copy of
// revision from: each life begins with a leap.
func Lost(known, from int64) int64 { return max(known-from, 0) % embedded.RevisionBump }

// Recover has this host begin a new life of the store with the copy that its
// member has: for when the majority is lost for good. It is refused while the store
// answers, or any other member does (ErrAnswers), and on a host without a copy
// (ErrNoMember). It takes effect when the Store is opened anew; the other hosts
// follow by themselves.
func (s *Store) Recover(ctx context.Context, kv store.KV) (Loss, error) {
	if s.standing != Cluster || !s.seat.hasData() {
		return Loss{}, ErrNoMember
	}
	once, cancel := context.WithTimeout(ctx, quorumPatience)
	_, err := kv.Get(once, store.MetaKey())
	cancel()
	if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		return Loss{}, fmt.Errorf("%w: nothing is lost for good", errors.Join(ErrAnswers, err))
	}
	for _, said := range ask(ctx, s.lives.others(), s.lives.askStore) {
		if said.err == nil || errors.Is(said.err, join.ErrRevoked) || errors.Is(said.err, join.ErrCertificate) {
			return Loss{}, fmt.Errorf("%w at %s, though not this host: mend what is between them, or stop the agent there for good", errors.Join(ErrAnswers, said.err), said.door)
		}
	}
	book := s.book.read()
	loss := Loss{Heard: s.doors.lastHeard()}
	anew, err := s.anew("the majority of its members was lost, and node "+s.config.Node+" went on with its copy", "")
	if err != nil {
		return loss, err
	}
	loss.Life = anew.Life
	return loss, s.beginAnew(anew, book.Base, formerOf(book))
}

// Restore has this host begin a new life of the store with a snapshot, which it
// takes over from the caller: a file in the data directory. Where this host keeps
// the cluster's authority that stays, and the other hosts follow; where it does not
// it makes another, and they have to join. It takes effect when the Store is opened
// anew.
func (s *Store) Restore(snapshot, why string) (Loss, error) {
	if s.standing == Joining || s.config.Client {
		return Loss{}, errors.New("restore the store: this host was told to use the store of others")
	}
	book := s.book.read()
	loss := Loss{}
	if book.Heard != 0 {
		loss.Heard = time.Unix(book.Heard, 0)
	}
	_, keeps, err := s.identity.Custody()
	if err != nil {
		return loss, err
	}
	base, former := book.Base, formerOf(book)
	if base == "" {
		base = s.ownBase(s.config.Listen)
	}
	if !keeps {
		former = nil // they know another authority
		if err := s.beginAuthority(); err != nil {
			return loss, err
		}
	}
	anew, err := s.anew(why, snapshot)
	if err != nil {
		return loss, err
	}
	loss.Life = anew.Life
	return loss, s.beginAnew(anew, base, former)
}

// KeepsAuthority reports whether this host keeps its cluster's authority.
func (s *Store) KeepsAuthority() (bool, error) {
	_, keeps, err := s.identity.Custody()
	return keeps, err
}

// formerOf are the members of a life that is over when another begins.
func formerOf(b Book) []join.Place { return slices.Concat(b.Members, b.Former) }

// anew is the life after all that this host knows of.
func (s *Store) anew(why, snapshot string) (Anew, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return Anew{}, fmt.Errorf("name a life of the store: %w", err)
	}
	number := max(s.book.read().Life.Number, s.picture.now().life.Number) + 1
	return Anew{Life: store.Life{Number: number, ID: id.String(), Node: s.config.Node, Since: s.config.Now().Unix()}, Snapshot: snapshot, Why: why}, nil
}

// beginAnew writes in the book what the next start has to make.
func (s *Store) beginAnew(anew Anew, base string, former []join.Place) error {
	place, err := s.placeAt(base)
	if err != nil {
		return err
	}
	former = slices.DeleteFunc(former, func(p join.Place) bool { return p.Node == s.config.Node })
	return s.book.rewrite(func(b *Book) {
		b.Base, b.Members, b.Former, b.Moved, b.Left, b.Anew = base, []join.Place{place}, former, false, nil, &anew
	})
}

// Life is the life of the store, as it says itself; zero for the first, and while
// it has not answered.
func (s *Store) Life() store.Life { return s.picture.now().life }

// Snapshot copies the store: the member of this host where there is one, else any
// other.
func (s *Store) Snapshot(ctx context.Context, client *etcd.Client, w io.Writer) error {
	server := s.seat.running()
	if s.solo != nil {
		server = s.solo
	}
	if server == nil {
		return etcd.NewMembership(client).Snapshot(ctx, w)
	}
	own, err := etcd.New(etcd.Config{Endpoints: []string{server.Endpoint()}, Prefix: s.config.Prefix, Log: s.log})
	if err != nil {
		return err
	}
	return errors.Join(etcd.NewMembership(own).Snapshot(ctx, w), own.Close())
}

// HasCopy reports whether a member of the store, or a solo host's own, is here.
func (s *Store) HasCopy() bool { return s.solo != nil || s.seat.running() != nil }

// begunAnew makes the member's data, and goes on trying: until it is made this
// host has no store. It returns false when ctx ended.
func (s *seat) begunAnew(ctx context.Context, anew Anew) bool {
	for {
		err := s.beginLife(ctx, anew)
		if err == nil {
			s.trouble.set(ErrBeginning, nil)
			return true
		}
		if ctx.Err() == nil {
			s.trouble.set(ErrBeginning, fmt.Errorf("%w: %w: %w", store.ErrUnavailable, ErrBeginning, err))
			s.log.Error("the store could not be made anew: tried again in ten seconds", "err", err)
		}
		if !store.Sleep(ctx, lifeLook) {
			return false
		}
	}
}

// beginLife makes the member's data and writes into it, before anybody else can
// reach it, what makes it another life. Whatever ends it in between, the next one
// does it all again.
func (s *seat) beginLife(ctx context.Context, anew Anew) error {
	at, err := members.AddressesOf(s.book.read().Base)
	if err != nil {
		return err
	}
	if anew.Snapshot != "" {
		anew.Life.From, err = embedded.Restore(s.dir, s.config.Node, peerURL(at.Peer), anew.Snapshot, anew.Life.Number, s.log)
	} else {
		anew.Life.From, err = embedded.Renew(s.dir, s.config.Node, peerURL(at.Peer), anew.Life.Number, s.log)
	}
	if err != nil {
		return err
	}
	if err := s.privately(ctx, func(ctx context.Context, kv *etcd.Client, id uint64) error {
		return s.writeLife(ctx, kv, anew, store.Member{Node: s.config.Node, ID: members.HexID(id), Peer: at.Peer, Client: at.Client, Door: at.Door})
	}); err != nil {
		return err
	}
	if err := s.book.rewrite(func(b *Book) { b.Life, b.Anew = anew.Life, nil }); err != nil {
		return err
	}
	s.log.Warn("the store has begun another life, with this host's member alone: nothing new is given until `gvlan recover` is run",
		"life", anew.Life.Number, "why", anew.Why)
	if anew.Snapshot == "" {
		return nil
	}
	if err := os.Remove(anew.Snapshot); err != nil {
		s.log.Warn("the snapshot that the store was restored from is not deleted", "err", err)
	}
	return nil
}

// privately runs the member's data behind the unix socket only, for do.
func (s *seat) privately(ctx context.Context, do func(ctx context.Context, kv *etcd.Client, id uint64) error) (err error) {
	ctx, stop := context.WithTimeout(ctx, beginPatience)
	defer stop()
	server, err := embedded.New(embedded.Config{Dir: s.dir, Name: s.config.Node, Log: s.log})
	if err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(running) }()
	defer func() {
		end()
		err = errors.Join(err, <-ended)
	}()
	select {
	case <-server.Ready():
	case failed := <-ended:
		ended <- nil
		return fmt.Errorf("start the new store: %w", errors.Join(failed, ctx.Err()))
	}
	kv, err := etcd.New(etcd.Config{Endpoints: []string{server.Endpoint()}, Prefix: s.config.Prefix, Log: s.log})
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, kv, server.Standing().ID), kv.Close())
}

// writeLife writes what makes a copy another life of the store. The gate comes
// first: whatever is lost, nothing is given until every node has written again
// what it holds. Leases end: the copy begins them all anew, so that nodes that are
// dead for long would pass for connected, and be asked to be members.
func (s *seat) writeLife(ctx context.Context, kv *etcd.Client, anew Anew, only store.Member) error {
	if err := session.CloseGate(ctx, kv, s.config.Node, anew.Why); err != nil {
		return err
	}
	if err := kv.EndLeases(ctx); err != nil {
		return err
	}
	if err := members.Restart(ctx, kv, only); err != nil {
		return err
	}
	if err := join.NewCustodian(kv, s.identity, s.config.Now, s.log).Refound(ctx); err != nil {
		return err
	}
	if _, err := kv.Commit(ctx, store.Txn{Then: []store.Op{store.Put(store.LifeKey(), store.Encode(anew.Life))}}); err != nil {
		return fmt.Errorf("write which life of the store this is: %w", err)
	}
	return nil
}
