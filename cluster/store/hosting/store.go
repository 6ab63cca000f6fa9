package hosting

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/care"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/members"
)

// ErrMoved is returned by Run when this host has come to stand for something
// else, which a Store opened anew is.
var ErrMoved = errors.New("this host uses another store now")

// ErrNoMember: what was asked for is done by a host that runs a member.
var ErrNoMember = errors.New("this host runs no member of the store")

// Standing says whose store a host uses.
type Standing string

const (
	Solo    Standing = "solo"    // its own, which no other host shares
	Joining Standing = "joining" // that of an address it was told, which has not let it in yet
	Cluster Standing = "cluster" // that of its cluster, with or without a member here
)

// handOverLook is how often a host that leaves looks whether it may go.
const handOverLook = 200 * time.Millisecond

const (
	memberFolder   = "etcd"
	identityFolder = "identity"
	asideSuffix    = ".old" // of the folder with a member's data of an older life
)

// Config says what a host may have to do with the store.
type Config struct {
	Dir      string     // data directory, a path from the root
	Node     string     // name of the node, and of its member
	Install  string     // id of the data directory
	Host     string     // host name, for certificates and people
	Address  netip.Addr // others reach this host by
	Prefix   string     // of every key; "" means etcd.DefaultPrefix
	Listen   string     // HOST:PORT to serve a member at: a host that is of no cluster, and joins none, begins one there; "" leaves that to Begin
	Client   bool       // this host is never asked to run a member
	Join     string     // HOST:PORT of a member that a host joins by which is of no cluster; "" for none
	Networks int        // of this host's own: with any it does not join by itself, which would lose them or bring them along unasked
	Token    func() (string, error)
	Patience time.Duration // a member may be gone before another host takes its place
	Events   events.Teller // is told how the store's members change
	Now      func() time.Time
	Log      *slog.Logger
}

// Store is this host's part in the store its agent uses.
type Store struct {
	config   Config
	log      *slog.Logger
	standing Standing
	identity *authority.Identity
	book     *bookOf
	solo     *embedded.Server // of a host that shares its store with nobody
	picture  *picture
	trouble  *trouble
	doors    *doors
	papers   *papers
	seat     *seat
	health   *health
	lives    *lives
}

// trouble is why the store cannot answer this host, beyond silence.
type trouble struct {
	mu  sync.Mutex
	err error // nil: nothing is known
}

func (t *trouble) get() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// set takes the place of a trouble of the same kind or of none; any other stays.
// It reports whether it did.
func (t *trouble) set(kind, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil && !errors.Is(t.err, kind) {
		return false
	}
	t.err = err
	return true
}

// Open reads what this host stands for, and begins a cluster where it is told
// to and is of none yet. Nothing runs before Run.
func Open(c Config) (*Store, error) {
	s := &Store{config: c, log: c.Log, picture: newPicture(c.Log), trouble: &trouble{}}
	var err error
	if s.identity, err = authority.OpenIdentity(filepath.Join(c.Dir, identityFolder), c.Node, c.Now); err != nil {
		if errors.Is(err, authority.ErrOtherNode) {
			err = fmt.Errorf("%w: give it the name it had with --node-name, or an empty --data-dir instead of %s if it is another host or a copy", err, c.Dir)
		}
		return nil, err
	}
	book, found, err := readBook(c.Dir)
	if err != nil {
		return nil, err
	}
	s.book = &bookOf{dir: c.Dir, now: book}
	if !found && book.Moved {
		data := filepath.Join(c.Dir, memberFolder)
		if err := errors.Join(os.RemoveAll(data), os.RemoveAll(data+asideSuffix), s.identity.Forget()); err != nil {
			return nil, fmt.Errorf("delete what is left of the cluster that this host was of: %w", err)
		}
	}
	told := !found && s.isTold(book.Left)
	if told && c.Join == "" {
		if err := s.Begin(c.Listen); err != nil {
			return nil, err
		}
		found = true
	}
	s.doors = &doors{node: c.Node, identity: s.identity, asker: join.NewAsker(s.identity, c.Now), book: s.book, picture: s.picture, trouble: s.trouble, now: c.Now, log: c.Log}
	s.papers = &papers{node: c.Node, host: c.Host, now: c.Now, identity: s.identity, doors: s.doors, picture: s.picture, log: c.Log}
	dir := filepath.Join(c.Dir, memberFolder)
	s.lives = &lives{config: c, dir: dir, identity: s.identity, book: s.book, doors: s.doors, picture: s.picture, hinted: make(chan struct{}, 1), log: c.Log}
	s.seat = &seat{config: c, dir: dir, identity: s.identity, book: s.book, papers: s.papers, picture: s.picture, trouble: s.trouble, lives: s.lives, log: c.Log}
	s.papers.inStep = s.seat.inStep
	s.health = &health{dir: dir, seat: s.seat, space: embedded.Space, now: c.Now}
	switch {
	case found:
		s.standing = Cluster
		return s, s.settleIn()
	case told:
		s.standing = Joining
		s.trouble.set(ErrOutside, fmt.Errorf("%w: %w: joining %s: not asked yet", store.ErrUnavailable, ErrOutside, c.Join))
	default:
		s.standing = Solo
		s.solo, err = embedded.New(soloConfig(c, s.seat.dir))
	}
	return s, err
}

// isTold reports whether a host that is of no cluster is to begin or to join one by
// its settings.
func (s *Store) isTold(left *Left) bool {
	c := s.config
	switch {
	case c.Join == "" && c.Listen == "":
		return false
	case left.sameAs(leftWith(c)):
		s.log.Info("this host left its cluster: --join and --etcd-listen are not followed until they or the token say something else; gvlan join or gvlan init does it now", "join", c.Join, "etcd_listen", c.Listen)
		return false
	case c.Join != "" && c.Networks > 0 && !c.Client: // a managed plugin that is solo would give the addresses of others
		s.log.Error("--join is not followed, for this host has networks of its own: nothing of them may be lost or brought along unasked; run gvlan join with --import or --discard", "join", c.Join, "networks", c.Networks)
		return false
	}
	return true
}

// settleIn prepares a host of a cluster: what it has of a store before is
// deleted, and it serves where it is told to now.
func (s *Store) settleIn() error {
	book := s.book.read()
	if book.Moved {
		if err := os.RemoveAll(s.seat.dir); err != nil {
			return fmt.Errorf("delete the store this host had of its own: %w", err)
		}
	}
	s.lives.heardBefore()
	base, err := s.rebased(book)
	if err != nil || base == book.Base {
		return err
	}
	place, err := s.placeAt(base)
	if err != nil {
		return err
	}
	return s.book.rewrite(func(b *Book) {
		b.Base, b.Members = base, slices.Clone(b.Members)
		for i, m := range b.Members {
			if m.Node == s.config.Node {
				b.Members[i] = place
			}
		}
	})
}

// rebased is where this host is to serve a member from now on. A host whose
// network is not up yet keeps the address it had.
func (s *Store) rebased(book Book) (string, error) {
	switch {
	case s.config.Client:
		return "", nil
	case s.config.Listen != "":
		return s.ownBase(s.config.Listen), nil
	case book.Base == "":
		return s.ownBase(""), nil
	case s.config.Address.IsLoopback():
		return book.Base, nil
	}
	_, port, err := splitBase(book.Base)
	return netip.AddrPortFrom(s.config.Address, port).String(), err
}

// ownBase is the base address of this host when it is told to listen there:
// what others can reach, and never 0.0.0.0.
func (s *Store) ownBase(listen string) string {
	host, port, err := net.SplitHostPort(WithPort(listen))
	if err != nil || listen == "" {
		return netip.AddrPortFrom(s.config.Address, DefaultPort).String()
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = s.config.Address.String()
	}
	return net.JoinHostPort(host, port)
}

func (s *Store) placeAt(base string) (join.Place, error) {
	at, err := members.AddressesOf(base)
	return join.Place{Node: s.config.Node, Client: at.Client, Door: at.Door}, err
}

// Standing is what this host stands for, until it moves.
func (s *Store) Standing() Standing { return s.standing }

// Base is the host:port this host serves, or would serve, a member at; "" where
// it never does.
func (s *Store) Base() string { return s.book.read().Base }

// Moved reports whether this host has come from another store since Settle.
func (s *Store) Moved() bool { return s.book.read().Moved }

// Cluster is the uuid of the cluster that let this host in; "" where it was not
// told.
func (s *Store) Cluster() string { return s.book.read().Cluster }

// Settle says that nothing of the store before is remembered any more.
func (s *Store) Settle() error { return s.book.settle() }

// Places are the members this host knows of.
func (s *Store) Places() []join.Place { return s.book.read().Members }

// Endpoints are where the agent's client finds the store.
func (s *Store) Endpoints() []string {
	switch s.standing {
	case Solo:
		return []string{s.solo.Endpoint()}
	case Joining:
		return []string{s.config.Join}
	}
	return clients(s.Places())
}

// clients are where members answer clients; a learner refuses them.
func clients(places []join.Place) (all []string) {
	for _, p := range places {
		if !p.Learner {
			all = append(all, p.Client)
		}
	}
	return all
}

// TLS is how the agent's client speaks to the store; nil for a solo host.
func (s *Store) TLS() *tls.Config {
	if s.standing == Solo {
		return nil
	}
	return s.identity.Client()
}

// Trouble is why no request can be answered now that waiting does not cure: this
// host has not been let in yet, or is no more, or its own data is damaged. nil
// otherwise.
func (s *Store) Trouble() error { return s.trouble.get() }

// Run does this host's part until ctx ends. It returns ErrMoved when this host
// was let into the cluster it was told to join.
func (s *Store) Run(ctx context.Context, kv store.KV, client *etcd.Client) error {
	switch s.standing {
	case Solo:
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return s.seat.runSolo(ctx, s.solo) })
		group.Go(func() error { return s.health.run(ctx, client, s.solo.Endpoint()) })
		return group.Wait()
	case Joining:
		return s.knock(ctx)
	}
	s.papers.begin(kv)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.follow(ctx, kv, client) })
	group.Go(func() error { return s.papers.keep(ctx) })
	group.Go(func() error { return s.doors.ask(ctx, kv, client) })
	group.Go(func() error { return s.health.run(ctx, client, "") })
	if !s.config.Client {
		group.Go(func() error { return s.seat.run(ctx, kv, client) })
	}
	return group.Wait()
}

// knockAgain is the pause between two askings to be let in, and knockPatience how
// long one may take.
const (
	knockAgain    = 2 * time.Second
	knockPatience = 10 * time.Second
)

// ErrOutside: this host has not been let into the cluster it was told to join.
var ErrOutside = errors.New("this host waits to be let into its cluster")

// knock asks to be let in until it is, which is ErrMoved, or ctx ends.
func (s *Store) knock(ctx context.Context) error {
	if s.config.Networks > 0 {
		s.trouble.set(ErrOutside, fmt.Errorf("%w: %w: it has networks of its own, which are not brought along unasked: gvlan join %s with --import", store.ErrUnavailable, ErrOutside, s.config.Join))
		s.log.Error("this host is not let into the cluster", "by", s.config.Join, "err", s.trouble.get())
		<-ctx.Done()
		return nil
	}
	said := ""
	for ctx.Err() == nil {
		token, err := s.config.Token()
		if err == nil {
			once, cancel := context.WithTimeout(ctx, knockPatience)
			err = s.Join(once, s.config.Join, token, nil)
			cancel()
		}
		if err == nil {
			s.log.Info("this host was let into the cluster", "by", s.config.Join)
			return ErrMoved
		}
		s.trouble.set(ErrOutside, fmt.Errorf("%w: %w: joining %s: %w", store.ErrUnavailable, ErrOutside, s.config.Join, err))
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			s.log.Warn("this host is not let into the cluster yet: asked again every two seconds", "by", s.config.Join, "err", err)
		}
		store.Sleep(ctx, knockAgain)
	}
	return nil
}

// follow keeps the picture and the book as the store says, until ctx ends.
func (s *Store) follow(ctx context.Context, kv store.KV, client *etcd.Client) error {
	return store.Follow(ctx, kv, store.OwnSpan(), func(c store.Change) {
		s.picture.apply(c)
		now := s.picture.now()
		s.identity.SetRefused(now.refused) // at once: the papers are looked at a moment later
		s.doors.take(now.places(), client)
		s.lives.note(now)
	})
}

// Begin makes this host's store one that others can join, at HOST:PORT. It takes
// effect when the Store is opened anew.
func (s *Store) Begin(listen string) error {
	base := s.ownBase(listen)
	if at, err := netip.ParseAddrPort(base); err != nil {
		return fmt.Errorf("serve the store at %s: want an address of this host, with or without a port: %w", base, err)
	} else if at.Addr().IsLoopback() && listen == "" {
		return errors.New("this host has no address that others reach it by: give one with --listen ADDRESS (or --advertise, for the agent)")
	}
	place, err := s.placeAt(base)
	if err != nil {
		return err
	}
	if err := s.beginAuthority(); err != nil {
		return err
	}
	// A gvlan whose token was the authority left it beside the data.
	for _, name := range []string{"token", "ca.crt", "server.crt", "server.key"} {
		if err := os.Remove(filepath.Join(s.config.Dir, memberFolder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete the keys of an earlier gvlan: %w", err)
		}
	}
	return s.book.rewrite(func(b *Book) { *b = Book{Base: base, Members: []join.Place{place}, Moved: b.Moved} })
}

// beginAuthority makes this host the first of a cluster: it has the authority, a
// join secret and certificates.
func (s *Store) beginAuthority() error {
	root, err := authority.New(s.config.Now())
	if err != nil {
		return err
	}
	custody := authority.Custody{Authorities: []*authority.Authority{root}, Secret: authority.NewSecret()}
	if err := s.identity.SetCustody(custody); err != nil {
		return err
	}
	if err := s.identity.SetRoots(authority.CertificatePEM(root.Root())); err != nil {
		return err
	}
	return signOwn(s.identity, root, subjectOf(s.config.Node, s.config.Host, true), s.config.Now())
}

// Join has this host let in by the cluster that a member of at HOST:PORT is of. It
// takes effect when the Store is opened anew; the host's own store is gone then.
// What is to be looked at in the cluster's store before that looks by may, which
// ends the joining with an error; nil: nothing is.
func (s *Store) Join(ctx context.Context, address, token string, may func(context.Context, store.KV) error) error {
	parsed, err := authority.ParseToken(token)
	if err != nil {
		return err
	}
	door, err := join.DoorOf(address)
	if err != nil {
		return err
	}
	answer, err := s.doors.asker.Join(ctx, door, parsed, join.Applicant{Node: s.config.Node, Host: s.config.Host, Install: s.config.Install})
	if err != nil {
		return err
	}
	if err := s.identity.Accept(answer.Certificate, answer.Roots); err != nil {
		return err
	}
	book := Book{Moved: true, Members: answer.Members, Cluster: answer.Cluster} // where it serves is settled when it is opened: towards the members
	if len(book.Members) == 0 {                                                 // of a store so new that it has not said yet where its members are
		book.Members = []join.Place{{Client: WithPort(address), Door: door}}
	}
	if may != nil {
		client, err := etcd.New(etcd.Config{Endpoints: clients(book.Members), TLS: s.identity.Client(), Prefix: s.config.Prefix, Log: s.log})
		if err != nil {
			return err
		}
		if err := errors.Join(may(ctx, client), client.Close()); err != nil {
			return err
		}
	}
	// What it was a member of another life with is worth nothing there, and would be
	// held against the cluster's keys for ever.
	if err := errors.Join(s.identity.DropCustody(), s.identity.DropMember()); err != nil {
		return err
	}
	return s.book.rewrite(func(b *Book) { *b = book })
}

// Leave makes this host solo again, with an empty store, whatever its settings say:
// they are followed again once they say something else. It takes effect when the
// Store is opened anew, which deletes what is left of the cluster.
func (s *Store) Leave() error {
	left := leftWith(s.config)
	return s.book.rewrite(func(b *Book) { *b = Book{Moved: true, Left: left} })
}

// How long a token is waited for on a host that has just begun its cluster, and how
// often it is looked for.
const (
	tokenPatience = 10 * time.Second
	tokenLook     = 100 * time.Millisecond
)

// Token is what another host joins with. ErrNoMember where this host keeps none. A
// cluster that was begun a moment ago is waited for.
func (s *Store) Token(ctx context.Context) (authority.Token, error) {
	waiting, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	for {
		token, err := s.tokenNow(ctx)
		if !errors.Is(err, join.ErrNotFounded) || !store.Sleep(waiting, tokenLook) {
			return token, err
		}
	}
}

func (s *Store) tokenNow(ctx context.Context) (authority.Token, error) {
	custodian, err := s.papers.keeper()
	if err != nil {
		return authority.Token{}, err
	}
	token, err := custodian.Token(ctx)
	if errors.Is(err, join.ErrBehind) { // it was rotated on another host a moment ago
		if err = custodian.Refresh(ctx, s.doors.asker, s.config.Node); err == nil {
			token, err = custodian.Token(ctx)
		}
	}
	return token, err
}

// RotateToken ends the token and makes another. Errors as of Token.
func (s *Store) RotateToken(ctx context.Context) (authority.Token, error) {
	custodian, err := s.papers.keeper()
	if err != nil {
		return authority.Token{}, err
	}
	return custodian.RotateSecret(ctx)
}

// RotateAuthority begins to replace the authority, which members then bring to
// its end. Errors as of Token, and join.ErrRotating.
func (s *Store) RotateAuthority(ctx context.Context) error {
	custodian, err := s.papers.keeper()
	if err != nil {
		return err
	}
	return custodian.BeginRoots(ctx)
}

// Rotation says how far that is.
func (s *Store) Rotation(ctx context.Context) (join.Rotation, error) {
	custodian, err := s.papers.keeper()
	if err != nil {
		return join.Rotation{}, err
	}
	return custodian.StepRoots(ctx)
}

// HasMember reports whether this host runs a member, or is about to.
func (s *Store) HasMember() bool {
	_, asked := s.picture.now().member(s.config.Node)
	return asked || s.seat.running() != nil
}

// AwaitHandedOver waits until no member runs here, and none is asked to.
func (s *Store) AwaitHandedOver(ctx context.Context) error {
	for s.HasMember() {
		if !store.Sleep(ctx, handOverLook) {
			return fmt.Errorf("no other host has taken over this host's place in the store yet: %w", ctx.Err())
		}
	}
	return nil
}

// Expel takes the member of an evicted node out at once, so that its host cannot
// come in by it: certificates are looked at when a connection is made, and those
// between members stand for long. Without a member there is nothing to do.
func (s *Store) Expel(ctx context.Context, client *etcd.Client, node string) error {
	membership := etcd.NewMembership(client)
	all, err := membership.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Name == node {
			return membership.Remove(ctx, m.ID)
		}
	}
	return nil
}

// Warnings are what is wrong with the store, each with its cure; called is how people
// call a node's host.
func (s *Store) Warnings(called func(node string) string) []string { return s.health.warnings(called) }

// Health is what the last look at all members found, and how often one was
// taken.
func (s *Store) Health() (care.View, care.Looks) { return s.health.last() }

// Survey is the membership as this host sees it, whether or not it runs a
// member.
func (s *Store) Survey(ctx context.Context, kv store.KV, client *etcd.Client) (members.Survey, error) {
	return members.Look(ctx, kv, roster{etcd: etcd.NewMembership(client)})
}
