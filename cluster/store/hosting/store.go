package hosting

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
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
)

// Config says what a host may have to do with the store.
type Config struct {
	Dir      string     // data directory, a path from the root
	Node     string     // name of the node, and of its member
	Install  string     // id of the data directory
	Host     string     // host name, for certificates and people
	Address  netip.Addr // others reach this host by
	Listen   string     // HOST:PORT to serve a member at: a host that is of no cluster begins one there; "" leaves that to Begin
	Client   bool       // this host is never asked to run a member
	Join     string     // HOST:PORT of a member to join by; "" for none
	Token    func() (string, error)
	Patience time.Duration // a member may be gone before another host takes its place
	Now      func() time.Time
	Log      *slog.Logger
}

// Store is this host's part in the store its agent uses.
type Store struct {
	config   Config
	log      *slog.Logger
	identity *authority.Identity
	picture  *picture
	standing Standing
	solo     *embedded.Server // of a host that shares its store with nobody

	mu      sync.Mutex
	book    Book
	server  *embedded.Server // nil while no member runs here
	trouble error            // why the store cannot answer this host, beyond silence; nil: nothing known
}

// Open reads what this host stands for, and begins a cluster where it is told
// to and is of none yet. Nothing runs before Run.
func Open(c Config) (*Store, error) {
	s := &Store{config: c, log: c.Log, picture: newPicture(c.Log)}
	var err error
	if s.identity, err = authority.OpenIdentity(filepath.Join(c.Dir, identityFolder), c.Node, c.Now); err != nil {
		return nil, err
	}
	var found bool
	if s.book, found, err = readBook(c.Dir); err != nil {
		return nil, err
	}
	if !found && c.Listen != "" && c.Join == "" {
		if err := s.Begin(c.Listen); err != nil {
			return nil, err
		}
		found = true
	}
	switch {
	case found:
		s.standing = Cluster
		if s.book.Moved { // what lies there is of the store before
			if err := os.RemoveAll(s.memberDir()); err != nil {
				return nil, fmt.Errorf("delete the store this host had of its own: %w", err)
			}
		}
		return s, s.rebase()
	case c.Join != "":
		s.standing = Joining
		s.setTrouble(fmt.Errorf("%w: joining %s: not asked yet", store.ErrUnavailable, c.Join))
	default:
		s.standing = Solo
		s.solo, err = embedded.New(embedded.Config{Dir: s.memberDir(), Name: s.config.Node, Log: s.log})
	}
	return s, err
}

// rebase takes another address to serve at, if this host was given one.
func (s *Store) rebase() error {
	if s.config.Client {
		return nil
	}
	base := s.ownBase(s.config.Listen)
	if s.config.Listen == "" && s.book.Base != "" {
		_, port, err := splitBase(s.book.Base)
		if err != nil {
			return err
		}
		base = netip.AddrPortFrom(s.config.Address, uint16(port)).String()
	}
	if base == s.book.Base {
		return nil
	}
	for i := range s.book.Members {
		if s.book.Members[i].Node == s.config.Node {
			place, err := s.placeAt(base)
			if err != nil {
				return err
			}
			s.book.Members[i] = place
		}
	}
	s.book.Base = base
	return s.book.write(s.config.Dir)
}

// ownBase is the base address of this host when it is told to listen there:
// what others can reach, and never 0.0.0.0.
func (s *Store) ownBase(listen string) string {
	host, port, err := net.SplitHostPort(cmp.Or(WithPort(listen), fmt.Sprint(":", DefaultPort)))
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
func (s *Store) Base() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Base
}

// Moved reports whether this host has come from another store since Settle.
func (s *Store) Moved() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Moved
}

// Settle says that nothing of the store before is remembered any more.
func (s *Store) Settle() error {
	return s.rewrite(func(b *Book) { b.Moved = false })
}

// rewrite changes the book, here and on disk.
func (s *Store) rewrite(change func(*Book)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := s.book
	change(&book)
	if err := book.write(s.config.Dir); err != nil {
		return err
	}
	s.book = book
	return nil
}

// Places are the members this host knows of.
func (s *Store) Places() []join.Place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Members
}

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

func clients(places []join.Place) (all []string) {
	for _, p := range places {
		all = append(all, p.Client)
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
func (s *Store) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

func (s *Store) setTrouble(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
}

func (s *Store) memberDir() string { return filepath.Join(s.config.Dir, memberFolder) }

// Run does this host's part until ctx ends. It returns ErrMoved when this host
// was let into the cluster it was told to join, or was put out of its own.
func (s *Store) Run(ctx context.Context, kv store.KV, client *etcd.Client) error {
	switch s.standing {
	case Solo:
		return s.runSolo(ctx)
	case Joining:
		return s.knockToJoin(ctx)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.followStore(ctx, kv, client) })
	group.Go(func() error { return s.keepPapers(ctx, kv) })
	group.Go(func() error { return s.askDoors(ctx, kv, client) })
	if !s.config.Client {
		group.Go(func() error { return s.host(ctx, kv, client) })
	}
	return group.Wait()
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
	if err := s.signOwn(root); err != nil {
		return err
	}
	return s.rewrite(func(b *Book) { *b = Book{Base: base, Members: []join.Place{place}} })
}

// Join has this host let in by the cluster that a member of at HOST:PORT is of. It
// takes effect when the Store is opened anew; the host's own store is gone then.
func (s *Store) Join(ctx context.Context, address, token string) error {
	parsed, err := authority.ParseToken(token)
	if err != nil {
		return err
	}
	door, err := join.DoorOf(address)
	if err != nil {
		return err
	}
	answer, err := s.asker().Join(ctx, door, parsed, join.Applicant{Node: s.config.Node, Host: s.config.Host, Install: s.config.Install})
	if err != nil {
		return err
	}
	if err := s.identity.Accept(answer.Certificate, answer.Roots); err != nil {
		return err
	}
	book := Book{Moved: true}
	if !s.config.Client {
		book.Base = s.ownBase(s.config.Listen)
	}
	book.Members = answer.Members
	return s.rewrite(func(b *Book) { *b = book })
}

// Leave makes this host solo again, with an empty store. It takes effect when
// the Store is opened anew.
func (s *Store) Leave() error {
	if err := errors.Join(os.RemoveAll(s.memberDir()), s.identity.Forget()); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	if err := os.Remove(filepath.Join(s.config.Dir, bookFile)); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	return syncFolder(s.config.Dir)
}

// custodian is what this host does with the cluster's keys; ErrNoMember where it
// keeps none.
func (s *Store) custodian(kv store.KV) (*join.Custodian, error) {
	_, keeps, err := s.identity.Custody()
	if err == nil && !keeps {
		err = ErrNoMember
	}
	return join.NewCustodian(kv, s.identity, s.config.Now), err
}

// Token is what another host joins with. ErrNoMember where this host keeps none.
func (s *Store) Token(ctx context.Context, kv store.KV) (authority.Token, error) {
	custodian, err := s.custodian(kv)
	if err != nil {
		return authority.Token{}, err
	}
	return custodian.Token(ctx)
}

// RotateToken ends the token and makes another. Errors as of Token.
func (s *Store) RotateToken(ctx context.Context, kv store.KV) (authority.Token, error) {
	custodian, err := s.custodian(kv)
	if err != nil {
		return authority.Token{}, err
	}
	return custodian.RotateSecret(ctx)
}

// RotateAuthority begins to replace the authority, which members then bring to
// its end. Errors as of Token, and join.ErrRotating.
func (s *Store) RotateAuthority(ctx context.Context, kv store.KV) error {
	custodian, err := s.custodian(kv)
	if err != nil {
		return err
	}
	return custodian.BeginRoots(ctx)
}

// Rotation says how far that is.
func (s *Store) Rotation(ctx context.Context, kv store.KV) (join.Rotation, error) {
	custodian, err := s.custodian(kv)
	if err != nil {
		return join.Rotation{}, err
	}
	return custodian.StepRoots(ctx)
}

// HasMember reports whether this host runs a member, or is about to.
func (s *Store) HasMember() bool {
	_, asked := s.picture.now().member(s.config.Node)
	return asked || s.running() != nil
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
