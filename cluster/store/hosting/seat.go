package hosting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/members"
)

// turnOfMember is how long members wait for one another before they begin anew.
const turnOfMember = 10 * time.Second

// again is the pause before a member that did not start is tried again.
const again = 2 * time.Second

// seat is this host's place in the store, while it has one, and the member that
// runs there.
type seat struct {
	config   Config
	dir      string // of the member's data
	identity *authority.Identity
	book     *bookOf
	papers   *papers
	picture  *picture
	trouble  *trouble
	lives    *lives
	log      *slog.Logger

	full bool // the disk is, since a member ran last; of the one goroutine that runs it

	mu     sync.Mutex
	server *embedded.Server // nil while no member runs here
	roots  []byte           // that it was started with
}

// runSolo runs the store of a host that shares it with nobody.
func (s *seat) runSolo(ctx context.Context, solo *embedded.Server) error {
	for {
		s.setServer(solo)
		err := solo.Run(ctx)
		s.setServer(nil)
		s.noteRoom(solo, err)
		switch {
		case errors.Is(err, embedded.ErrDamaged):
			return s.damaged(ctx, err)
		case !errors.Is(err, embedded.ErrNoSpace) || errors.Is(err, embedded.ErrStuck):
			return err
		}
		if !store.Sleep(ctx, again) {
			return nil
		}
		if solo, err = embedded.New(soloConfig(s.config, s.dir)); err != nil {
			return err
		}
	}
}

// soloConfig is that of the member of a host that shares its store with nobody.
func soloConfig(c Config, dir string) embedded.Config {
	return embedded.Config{Dir: dir, Name: c.Node, Log: c.Log}
}

// noteRoom says that the disk is full, once until the member has run again.
func (s *seat) noteRoom(server *embedded.Server, err error) {
	select {
	case <-server.Ready():
		s.full = false
	default:
	}
	if errors.Is(err, embedded.ErrNoSpace) && !s.full {
		s.log.Error("no member of the store runs on this host until there is room: it is looked at every two seconds", "err", err)
		s.full = true
	}
}

// damaged goes on as while the store is away, because containers need the agent.
func (s *seat) damaged(ctx context.Context, err error) error {
	s.trouble.set(embedded.ErrDamaged, err)
	s.log.Error("the store's own data on this host is damaged: no member runs here, what runs goes on, no new address is given", "err", err)
	<-ctx.Done()
	return nil
}

// hasData reports whether a member has run here and was not removed since.
func (s *seat) hasData() bool { return embedded.Holds(s.dir) }

// alone reports whether the only member that this host knows of is its own. One
// without data begins anew: nobody else could ask it to.
func (s *seat) alone() bool {
	known := s.book.read().Members
	return len(known) == 1 && known[0].Node == s.config.Node
}

// run runs a member whenever this host has one or is asked to, until ctx ends.
func (s *seat) run(ctx context.Context, kv store.KV, client *etcd.Client) error {
	removed, said := "", "" // id of the member that was here and is out of the cluster; the last failure
	fails := func(what string, err error) {
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			s.log.Error(what+": tried again every two seconds", "err", err)
		}
		store.Sleep(ctx, again)
	}
	const asked = "this host is asked to run a member of the store and cannot yet"
	for ctx.Err() == nil {
		others := map[string]string{}
		var err error
		if removed, err = s.toLife(ctx, client, removed); err != nil || ctx.Err() != nil {
			return err
		}
		if !s.hasData() && !s.alone() {
			v, ok := s.awaitAsking(ctx, removed)
			if !ok {
				return nil
			}
			if err := s.papers.forMember(ctx); err != nil {
				fails(asked, err)
				continue
			}
			others = v.peersOf(s.config.Node)
			if err := s.book.rewrite(func(b *Book) { b.Life = v.life }); err != nil {
				fails(asked, err)
				continue
			}
		} else if err := s.papers.revive(); err != nil {
			s.log.Error("the member's certificate has ended, and there is no new one: other members refuse this one", "err", err)
		}
		err = s.runMember(ctx, kv, client, others)
		if m, there := s.picture.now().member(s.config.Node); there && errors.Is(err, embedded.ErrRemoved) {
			removed = m.ID
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil: // to be started with what has changed
		case errors.Is(err, embedded.ErrRemoved):
			s.log.Info("the member of this host is out of the store, which others go on with: its data is deleted", "id", removed)
			if err := s.empty(); err != nil {
				return err
			}
		case errors.Is(err, errSuperseded): // which the next round finds again, and acts on
		case errors.Is(err, embedded.ErrDamaged):
			if err := s.beginAnew(ctx, err); err != nil {
				return err
			}
		case errors.Is(err, embedded.ErrStuck):
			return err // a process that is started anew goes on
		case errors.Is(err, embedded.ErrNoSpace):
			store.Sleep(ctx, again)
		case errors.Is(err, syscall.EADDRNOTAVAIL) && s.config.Listen != "":
			return s.notHere(err)
		default:
			fails("the member of this host does not run", err)
		}
	}
	return nil
}

// empty deletes what this host had of a member.
func (s *seat) empty() error {
	if err := errors.Join(embedded.Discard(s.dir), s.identity.DropCustody(), s.identity.DropMember()); err != nil {
		return fmt.Errorf("delete the data of a member that was here: %w", err)
	}
	return nil
}

// beginAnew gives up data that is damaged once the others have given this host
// another place: then they have all there is. Alone it keeps them.
func (s *seat) beginAnew(ctx context.Context, damage error) error {
	if s.alone() {
		return s.damaged(ctx, damage)
	}
	s.log.Error("the store's own data on this host is damaged: no member runs here until the other members, who have it too, give this host another place", "err", damage)
	had := ""
	for v := s.picture.now(); had == ""; v = s.picture.now() {
		if m, there := v.member(s.config.Node); there {
			had = m.ID
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-v.changed:
		}
	}
	if _, asked := s.awaitAsking(ctx, had); !asked {
		return nil
	}
	return s.empty()
}

// notHere says which option is wrong where the kernel only says that an address
// is not this host's.
func (s *seat) notHere(err error) error {
	everywhere := "0.0.0.0"
	at, parseErr := netip.ParseAddrPort(s.config.Listen)
	if parseErr != nil {
		return err
	}
	if at.Addr().Is6() {
		everywhere = "::"
	}
	return fmt.Errorf("--etcd-listen %s: this host does not have that address: give one of its own, or %s for all of them: %w",
		s.config.Listen, netip.AddrPortFrom(netip.MustParseAddr(everywhere), at.Port()), err)
}

// awaitAsking waits until the store has a place for this host, which is not the
// one it lost; false when ctx ended.
func (s *seat) awaitAsking(ctx context.Context, removed string) (view, bool) {
	for {
		v := s.picture.now()
		if m, asked := v.member(s.config.Node); asked && m.ID != removed {
			return v, true
		}
		select {
		case <-ctx.Done():
			return v, false
		case <-v.changed:
		}
	}
}

// runMember runs the member with its door and its duties, until ctx ends, the
// member does (ErrRemoved, ErrDamaged), or something it started with has
// changed (nil).
func (s *seat) runMember(ctx context.Context, kv store.KV, client *etcd.Client, others map[string]string) error {
	s.startsWith(s.identity.Roots())
	defer s.startsWith(nil)
	config, err := s.memberConfig(others)
	if err != nil {
		return err
	}
	server, err := embedded.New(config)
	if err != nil {
		return err
	}
	s.setServer(server)
	defer s.setServer(nil)
	group, ctx := errgroup.WithContext(ctx)
	ended := errors.New("the member ended")
	group.Go(func() error {
		err := server.Run(ctx)
		if err == nil {
			err = ended
		}
		return err
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-server.Ready():
		}
		return s.serve(ctx, kv, client, server)
	})
	group.Go(func() error { return s.lives.watch(ctx) })
	group.Go(func() error {
		if s.rootsChange(ctx) {
			return ended // etcd reads its authorities once
		}
		return nil
	})
	err = group.Wait()
	s.noteRoom(server, err)
	if errors.Is(err, ended) {
		return nil
	}
	return err
}

// rootsChange waits until the cluster's authorities are others than those the
// member started with, and then for this host's turn: members do not begin anew
// all at once. It returns false when ctx ended.
func (s *seat) rootsChange(ctx context.Context) bool {
	for store.Sleep(ctx, again) {
		if !s.inStep(s.identity.Roots()) {
			turn := slices.IndexFunc(s.picture.now().members, func(m store.Member) bool { return m.Node == s.config.Node })
			return store.Sleep(ctx, time.Duration(max(turn, 0))*turnOfMember)
		}
	}
	return false
}

// inStep reports whether the member that runs here, if one does, was started with
// these roots.
func (s *seat) inStep(roots []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roots == nil || bytes.Equal(s.roots, roots)
}

// startsWith notes the roots that a member is about to read; nil: none runs.
func (s *seat) startsWith(roots []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots = roots
}

// running is the member that runs here; nil: none does.
func (s *seat) running() *embedded.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// leads reports whether the member that leads runs here.
func (s *seat) leads() bool {
	server := s.running()
	if server == nil {
		return false
	}
	is := server.Standing()
	return is.ID != 0 && is.ID == is.Leader
}

func (s *seat) setServer(server *embedded.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
}

func (s *seat) memberConfig(others map[string]string) (embedded.Config, error) {
	at, err := members.AddressesOf(s.book.read().Base)
	if err != nil {
		return embedded.Config{}, err
	}
	client, clientErr := netip.ParseAddrPort(s.listening(at.Client))
	peer, peerErr := netip.ParseAddrPort(s.listening(at.Peer))
	told, toldErr := netip.ParseAddrPort(at.Client)
	if err := errors.Join(clientErr, peerErr, toldErr); err != nil {
		return embedded.Config{}, fmt.Errorf("serve the store at %s: want an address, no name: %w", s.book.read().Base, err)
	}
	return embedded.Config{
		Dir: s.dir, Name: s.config.Node, Listen: client, Peer: peer, Advertise: told.Addr(),
		Files: s.identity.Files(), Others: others,
		Refused: s.identity.Refused, RefusedChanged: s.identity.RefusedChanged,
		Log: s.log,
	}, nil
}

// serve does what a host with a member does beside running it: the door, and
// the care of the cluster while this member leads.
func (s *seat) serve(ctx context.Context, kv store.KV, client *etcd.Client, server *embedded.Server) error {
	at, err := members.AddressesOf(s.book.read().Base)
	if err != nil {
		return err
	}
	listener, err := join.Listen(ctx, s.listening(at.Door))
	if err != nil {
		return err
	}
	cluster := roster{etcd: etcd.NewMembership(client), own: at.Client}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		door := join.NewDoor(kv, s.identity, s.papers.custodian, s.config.Now, s.log)
		door.Standing = s.lives.standing
		return door.Run(ctx, listener)
	})
	group.Go(func() error { return s.keepPeerURL(ctx, cluster, server) })
	group.Go(func() error {
		return members.NewSteward(members.Config{
			Node: s.config.Node, KV: kv, Roster: cluster, Membership: cluster, Events: s.config.Events, Patience: s.config.Patience, Now: s.config.Now, Log: s.log,
		}).Run(ctx)
	})
	return group.Wait()
}

// listening is where this host itself listens for an address that others reach it
// by: on all its addresses, if --etcd-listen says so.
func (s *seat) listening(address string) string {
	given, err := netip.ParseAddrPort(s.config.Listen)
	_, port, splitErr := net.SplitHostPort(address)
	if err != nil || splitErr != nil {
		return address
	}
	return net.JoinHostPort(given.Addr().String(), port)
}

// keepPeerURL has the other members find this one where it is: a host that was
// solo had no address, and one may get another.
func (s *seat) keepPeerURL(ctx context.Context, cluster roster, server *embedded.Server) error {
	for ctx.Err() == nil {
		err := cluster.settle(ctx, server.Standing().ID, server.PeerURL())
		if err == nil || ctx.Err() != nil {
			return nil
		}
		s.log.Warn("the other members are not told yet where this one is: tried again in two seconds", "at", server.PeerURL(), "err", err)
		store.Sleep(ctx, again)
	}
	return nil
}
