package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/internal/zaplog"
)

// ErrRemoved is returned by Run for a member that its cluster has removed.
// It cannot come back with the data it has: Discard it before it joins anew.
var ErrRemoved = errors.New("the embedded etcd was removed from its cluster")

// Config says where the embedded etcd keeps its data and who may reach it.
type Config struct {
	Dir  string // data directory, a path from the root; made when it is not there
	Name string // of the member; "" means "gvlan"

	// Listen is where clients of other hosts come in, with TLS, and Peer where
	// the other members do; both zero: this member is alone, and has a unix
	// socket only.
	Listen, Peer netip.AddrPort
	// Advertise is the address that others reach both by; zero: Listen's own.
	Advertise netip.Addr
	Files     authority.Files // what TLS works with; read anew for each connection, but for CA on Peer, which is read when Run begins
	// Others are the peer URLs, by name, of the members of the cluster that this
	// one joins, each of them; one of its own name is passed over. It must have
	// been added there, as PeerURL says. They count while there is no data.
	Others map[string]string
	Quota  int64 // bytes; 0: etcd's own, 2 GiB

	// Refused reports whether a certificate, by its serial number in hex, is
	// accepted no more; nil: none is refused but those in Files.CRL.
	// RefusedChanged returns a channel that is closed when its answers change
	// after the call: connections that stand are ended then.
	Refused        func(serial string) bool
	RefusedChanged func() <-chan struct{}

	// Space says how many bytes are free for files in a folder; nil: Space.
	Space func(dir string) (free int64, err error)

	Log *slog.Logger
}

// Server is an embedded etcd.
type Server struct {
	config   Config
	door     *door
	keeper   *keeper
	log      *zap.Logger
	ready    chan struct{}
	started  atomic.Pointer[embed.Etcd] // nil before it is
	stopping chan struct{}              // closed when streams must end
	collapse *collapse
}

// New checks the configuration and makes the data directory. Run starts the
// server.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Name = cmp.Or(c.Name, memberName)
	if !c.Advertise.IsValid() {
		c.Advertise = c.Listen.Addr()
	}
	if c.Refused == nil {
		c.Refused = func(string) bool { return false }
	}
	if c.Space == nil {
		c.Space = Space
	}
	s := &Server{config: c, ready: make(chan struct{}), stopping: make(chan struct{}), collapse: newCollapse()}
	s.log = zaplog.New(c.Log.With("part", "etcd"), zapcore.WarnLevel, s.logLevel).
		WithOptions(zap.WithFatalHook(s.collapse), zap.WithPanicHook(s.collapse))
	s.keeper = newKeeper(c, s.log)
	var err error
	s.door, err = newDoor(c.Dir)
	return s, err
}

func (c Config) open() bool { return c.Listen.IsValid() }

func (c Config) check() error {
	switch {
	case !c.open() && (c.Peer.IsValid() || len(c.Others) > 0):
		return errors.New("the embedded etcd has no address for clients, so it can have no other members")
	case !c.open():
		return nil
	case c.Listen.Port() == 0 || !c.Peer.IsValid() || c.Peer.Port() == 0:
		return fmt.Errorf("the embedded etcd would listen on %s for clients and on %s for members: want a port for each", c.Listen, c.Peer)
	case c.Listen.Addr().IsUnspecified() && !c.Advertise.IsValid():
		return fmt.Errorf("the embedded etcd would listen on %s: want the address that others reach it by", c.Listen)
	}
	return nil
}

// Endpoint is where this host's own client finds the server, until Run
// returned.
func (s *Server) Endpoint() string { return s.door.url(s.door.client).String() }

// PeerURL is where other members find an open one.
func (s *Server) PeerURL() string {
	if !s.config.open() {
		return alonePeerURL
	}
	return s.advertised(s.config.Peer).String()
}

// advertised is an address that others reach this member by.
func (s *Server) advertised(listen netip.AddrPort) *url.URL {
	return &url.URL{Scheme: "https", Host: netip.AddrPortFrom(s.config.Advertise, listen.Port()).String()}
}

// Ready is closed once the server answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Standing is what a member is in its cluster.
type Standing struct {
	ID, Leader uint64 // 0: none
	Learner    bool
}

// Standing tells what this member is now; all zero before Run started it.
func (s *Server) Standing() Standing {
	etcd := s.started.Load()
	if etcd == nil {
		return Standing{}
	}
	id := etcd.Server.MemberID()
	self := etcd.Server.Cluster().Member(id)
	return Standing{ID: uint64(id), Leader: etcd.Server.Lead(), Learner: self != nil && self.IsLearner}
}

// Run runs the server until ctx ends, then stops it in order and returns
// nil. The error says which directory or address is taken, and by whom, or
// is ErrDamaged, ErrRemoved, ErrNoSpace or ErrStuck.
func (s *Server) Run(ctx context.Context) (err error) {
	defer s.door.close()
	held, err := lock(s.config.Dir)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := s.config.enough(RoomFrom); err != nil {
		return err
	}
	if err := settle(s.config.Dir); err != nil {
		return err
	}
	if err := s.inspect(); err != nil {
		return err
	}
	if s.config.open() {
		// etcd would refuse every peer without a word.
		if _, err := s.keeper.clientTLS(); err != nil {
			return err
		}
	}
	etcd, err := s.startEtcd()
	if err != nil {
		return s.explain(err)
	}
	s.started.Store(etcd)
	defer func() {
		if !s.collapse.end(etcd) {
			err = fmt.Errorf("%w: %w", ErrStuck, s.collapse.explain(s.config.Dir))
		}
	}()
	defer close(s.stopping) // before Close, which waits for streams to end
	if err := s.door.forOwnerOnly(); err != nil {
		etcd.Server.Stop()
		return err
	}
	return s.serve(ctx, etcd)
}

// serve runs a server that was started until it ends.
func (s *Server) serve(ctx context.Context, etcd *embed.Etcd) error {
	working, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { s.keeper.endRefused(working) })
	full := make(chan error, 1)
	wait.Go(func() {
		if err := s.config.awaitFull(working); err != nil {
			full <- err
		}
	})
	defer wait.Wait()
	defer stop()
	select {
	case <-etcd.Server.ReadyNotify():
		close(s.ready)
	case <-ctx.Done():
		etcd.Server.Stop() // Close alone would wait for a server that never became ready
		return nil
	case err := <-etcd.Err():
		return ended(etcd, err)
	case <-etcd.Server.StopNotify():
		return ended(etcd, nil)
	case <-s.collapse.happened:
		etcd.Server.HardStop()
		return s.collapse.explain(s.config.Dir)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-full:
		return err
	case <-s.collapse.happened:
		return s.collapse.explain(s.config.Dir)
	case err := <-etcd.Err():
		return ended(etcd, err)
	case <-etcd.Server.StopNotify():
		return ended(etcd, nil)
	}
}

// ended is why a server that nobody stopped does not go on. etcd stops by
// itself for one reason: it learned, from its log or from another member, that
// it was removed.
func ended(etcd *embed.Etcd, err error) error {
	defer etcd.Server.Stop()
	select {
	case <-etcd.Server.StoppingNotify():
		return ErrRemoved
	default:
		return fmt.Errorf("run the embedded etcd: %w", err)
	}
}

// explain says what a failed start means.
func (s *Server) explain(err error) error {
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrStuck) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) {
		return noSpace(s.config.Dir, err)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("start the embedded etcd: %w", err)
	}
	addr := s.config.Listen.String()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		addr = op.Addr.String()
	}
	return fmt.Errorf("address %s for the embedded etcd is taken by another program, perhaps an etcd of this host: "+
		"stop it, choose another address, or use that etcd with --etcd-endpoints: %w", addr, err)
}
