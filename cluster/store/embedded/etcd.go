package embedded

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/internal/zaplog"
)

// memberName is the name of the only member.
const memberName = "gvlan"

// etcdConfig is etcd's own configuration. Quota and fsync are left as etcd
// has them.
func (s *Server) etcdConfig() *embed.Config {
	c := embed.NewConfig()
	c.Name = memberName
	c.Dir = s.config.Dir
	// One member has no peers, so nothing listens for them. The address is
	// part of the member's identity only, and so is the token: a data
	// directory that is made anew is another etcd cluster.
	c.ListenPeerUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2380"}}
	c.InitialCluster = c.InitialClusterFromName(memberName)
	c.InitialClusterToken = uuid.NewString()

	local := *s.door.url()
	c.ListenClientUrls = []url.URL{local}
	c.AdvertiseClientUrls = []url.URL{local}
	if s.listen.IsValid() {
		others := url.URL{Scheme: "http", Host: s.listen.String()}
		if s.authority != nil {
			others.Scheme = "https"
			c.ClientTLSInfo = transport.TLSInfo{
				CertFile:       filepath.Join(s.config.Dir, certFile),
				KeyFile:        filepath.Join(s.config.Dir, keyFile),
				TrustedCAFile:  filepath.Join(s.config.Dir, caFile),
				ClientCertAuth: true,
			}
			c.TlsMinVersion = "TLS1.3"
		}
		c.ListenClientUrls = append(c.ListenClientUrls, others)
	}

	c.AutoCompactionMode = embed.CompactorModePeriodic
	c.AutoCompactionRetention = "1h"
	c.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(s.endStreams)}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zaplog.New(s.config.Log.With("part", "etcd"), zapcore.WarnLevel, s.logLevel))
	return c
}

// logLevel is how grave a line of etcd's is. While it stops, etcd reports
// every listener it closes as an error.
func (s *Server) logLevel(l zapcore.Level) slog.Level {
	select {
	case <-s.stopping:
		return slog.LevelDebug
	default:
		return zaplog.Level(l)
	}
}

// certify writes the server's certificate. The timer, the given one or a
// new one, fires when it must be written again; never without TLS.
func (s *Server) certify(timer *time.Timer) (*time.Timer, error) {
	if timer == nil {
		timer = time.NewTimer(time.Hour)
		timer.Stop()
	}
	if s.authority == nil {
		return timer, nil
	}
	cert, err := s.authority.Server(s.config.Names, hostAddresses(), s.key)
	if err != nil {
		return nil, err
	}
	// A renewed certificate keeps the key: a handshake that reads one file
	// before and one after the renewal still finds a pair.
	s.key, _ = cert.PrivateKey.(ed25519.PrivateKey)
	timer.Reset(time.Until(authority.RenewAt(cert)))
	return timer, writeServerFiles(s.config.Dir, s.authority.Root(), cert)
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

// endStreams is a gRPC interceptor that ends watches when the server stops.
// etcd waits 7 s for them otherwise, on each of its listeners.
func (s *Server) endStreams(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	select {
	case <-s.stopping:
		return status.Error(codes.Unavailable, "the server stops")
	default:
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-over:
		}
	}()
	return handle(srv, endable{stream, ctx})
}

// endable is a stream whose context can be ended.
type endable struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (e endable) Context() context.Context { return e.ctx }
