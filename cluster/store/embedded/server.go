package embedded

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"gvlan/cluster/store/authority"
)

// Config says where the embedded etcd keeps its data and who may reach it.
type Config struct {
	Dir      string   // data directory, a path from the root; made when it is not there
	Listen   string   // IP:port for other hosts, ":2379" for every address; "" for none
	Insecure bool     // Listen is plain TCP: whoever reaches it can change everything
	Names    []string // host names put into the certificate, for tools other than gvlan
	Log      *slog.Logger
}

// Server is an embedded etcd.
type Server struct {
	config    Config
	door      *door
	listen    netip.AddrPort       // zero: none
	authority *authority.Authority // nil: no TLS
	token     string
	key       ed25519.PrivateKey // of the server's certificate; nil before the first
	ready     chan struct{}
	stopping  chan struct{} // closed when streams must end
}

// New checks the configuration and makes the data directory and, when the
// server listens to other hosts with TLS, its token. Run starts it.
func New(c Config) (*Server, error) {
	s := &Server{config: c, ready: make(chan struct{}), stopping: make(chan struct{})}
	var err error
	if c.Listen != "" {
		if s.listen, err = listenAddress(c.Listen); err != nil {
			return nil, err
		}
	}
	if s.door, err = newDoor(c.Dir); err != nil {
		return nil, err
	}
	if c.Listen == "" || c.Insecure {
		return s, nil
	}
	if s.token, err = keptToken(c.Dir); err != nil {
		return nil, err
	}
	if s.authority, err = authority.New(s.token); err != nil {
		return nil, fmt.Errorf("read the token in %s: %w", c.Dir, err)
	}
	return s, nil
}

func listenAddress(text string) (netip.AddrPort, error) {
	full := text
	if len(text) > 0 && text[0] == ':' {
		full = "0.0.0.0" + text
	}
	addr, err := netip.ParseAddrPort(full)
	if err != nil || addr.Port() == 0 {
		return addr, fmt.Errorf("--etcd-listen %q: want an address of this host and a port, for example 0.0.0.0:2379", text)
	}
	return addr, nil
}

// Endpoint is where this host's own client finds the server, until Run
// returned.
func (s *Server) Endpoint() string { return s.door.url().String() }

// Token is what another host joins with; "" when none can, or anyone can.
func (s *Server) Token() string { return s.token }

// Ready is closed once the server answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run runs the server until ctx ends, then stops it in order and returns
// nil. The error says which directory or address is taken, and by whom, or
// is ErrDamaged.
func (s *Server) Run(ctx context.Context) error {
	defer s.door.close()
	held, err := lock(s.config.Dir)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := s.inspect(); err != nil {
		return err
	}
	renew, err := s.certify(nil)
	if err != nil {
		return err
	}
	etcd, err := s.startEtcd()
	if err != nil {
		return s.explain(err)
	}
	defer etcd.Close()
	defer close(s.stopping) // before Close, which waits for streams to end
	if err := s.door.forOwnerOnly(); err != nil {
		etcd.Server.Stop()
		return err
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case <-ctx.Done():
		etcd.Server.Stop() // Close alone would wait for a server that never became ready
		return nil
	case err := <-etcd.Err():
		etcd.Server.Stop()
		return fmt.Errorf("run the embedded etcd: %w", err)
	}
	close(s.ready)
	return s.serve(ctx, etcd, renew)
}

// serve renews the certificate until the server ends.
func (s *Server) serve(ctx context.Context, etcd *embed.Etcd, renew *time.Timer) error {
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-etcd.Err():
			return fmt.Errorf("run the embedded etcd: %w", err)
		case <-etcd.Server.StopNotify():
			return errors.New("run the embedded etcd: it stopped by itself")
		case <-renew.C:
			next, err := s.certify(renew)
			if err != nil {
				s.config.Log.Error("certificate of the embedded etcd not renewed: trying again in an hour", "err", err)
				renew.Reset(time.Hour)
				continue
			}
			renew = next
		}
	}
}

// explain says what a failed start means.
func (s *Server) explain(err error) error {
	if errors.Is(err, ErrDamaged) {
		return err
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("start the embedded etcd: %w", err)
	}
	addr := s.listen.String()
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		addr = op.Addr.String()
	}
	return fmt.Errorf("address %s for the embedded etcd is taken by another program, perhaps an etcd of this host: "+
		"stop it, choose another address, or use that etcd with --etcd-endpoints: %w", addr, err)
}
