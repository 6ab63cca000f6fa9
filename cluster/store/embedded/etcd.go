package embedded

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"strings"
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

const (
	// memberName is the name of a member that was given none.
	memberName = "gvlan"
	// alonePeerURL is where nothing listens: a member that is alone has no
	// peers, and the address is part of its identity only.
	alonePeerURL = "http://127.0.0.1:2380"
	// learnersMost is how many learners a cluster may have; etcd's own limit
	// is 1. It takes 4 to grow from one voter to five, and each member judges an
	// addition by its own limit, so it must be the same for all.
	learnersMost = 8
	minVersion   = "TLS1.3"
	// slow is how long a request may take before etcd warns of it. It would at
	// 0.1 s, which an SD card takes for a write whenever it tidies up.
	slow = 3 * time.Second
)

// etcdConfig is etcd's own configuration. Election and heartbeat, fsync and
// snapshots are left as etcd has them.
func (s *Server) etcdConfig() *embed.Config {
	c := embed.NewConfig()
	c.Name = s.config.Name
	c.Dir = s.config.Dir
	local := *s.door.url(s.door.client)
	c.ListenClientUrls = []url.URL{local}
	// With a socket of its own for HTTP, etcd offers nothing but gRPC on the
	// others, and lets gRPC do TLS by itself.
	c.ListenClientHttpUrls = []url.URL{*s.door.url(s.door.http)}
	c.EnableGRPCGateway = false
	if s.config.open() {
		s.open(c)
	} else {
		c.ListenPeerUrls = nil
		c.AdvertisePeerUrls = []url.URL{*must(url.Parse(alonePeerURL))}
		c.AdvertiseClientUrls = []url.URL{local}
	}
	// The token is part of a new cluster's identity: a data directory that is
	// made anew is another etcd cluster.
	c.InitialClusterToken = uuid.NewString()
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	if len(s.config.Others) > 0 {
		c.ClusterState = embed.ClusterStateFlagExisting
		c.InitialCluster = initialCluster(c.Name, c.InitialCluster, s.config.Others)
	}
	c.WarningApplyDuration, c.WarningUnaryRequestDuration = slow, slow
	c.MaxLearners = learnersMost
	// etcd's own check refuses a learner while any voter is silent, which is when
	// one is needed: the silent one's place could never be taken. Who changes the
	// membership looks at the quorum first.
	c.StrictReconfigCheck = false
	c.QuotaBackendBytes = s.config.Quota
	c.AutoCompactionMode = embed.CompactorModePeriodic
	c.AutoCompactionRetention = "1h"
	c.GRPCAdditionalServerOptions = []grpc.ServerOption{
		grpc.ChainStreamInterceptor(s.endStreams),
		grpc.Creds(s.keeper), // the last that is given counts
	}
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(s.log)
	return c
}

// open adds the ports for other hosts.
func (s *Server) open(c *embed.Config) {
	client, peer := s.advertised(s.config.Listen), s.advertised(s.config.Peer)
	c.ListenClientUrls = append(c.ListenClientUrls, url.URL{Scheme: "https", Host: s.config.Listen.String()})
	c.ListenPeerUrls = []url.URL{{Scheme: "https", Host: s.config.Peer.String()}}
	// The socket is of no use to others.
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = []url.URL{*client}, []url.URL{*peer}
	files := s.config.Files
	c.ClientTLSInfo = transport.TLSInfo{CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: files.CA, ClientCertAuth: true}
	c.PeerTLSInfo = c.ClientTLSInfo
	c.PeerTLSInfo.CRLFile = files.CRL
	// Members ask each other for the one name, whatever address they dial, and
	// let nobody in without it: a node's certificate does not open this port.
	c.PeerTLSInfo.ServerName = authority.ServerName
	c.PeerTLSInfo.AllowedHostnames = []string{authority.ServerName}
	c.PeerTLSInfo.SkipClientSANVerify = true // of the address a member comes from, which changes
	c.TlsMinVersion = minVersion
}

// initialCluster adds the other members to this one.
func initialCluster(name, self string, others map[string]string) string {
	all := []string{self}
	for other, peer := range others {
		if other != name {
			all = append(all, other+"="+peer)
		}
	}
	slices.Sort(all[1:])
	return strings.Join(all, ",")
}

// must is for what is known when it is written.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// logLevel is how grave a line of etcd's is. While it starts, it warns of
// what is as it must be here, and returns what is wrong; while it stops, it
// reports every listener it closes as an error.
func (s *Server) logLevel(e zapcore.Entry) slog.Level {
	if s.started.Load() == nil && e.Level <= zapcore.WarnLevel || meansNothing(e.Message) {
		return slog.LevelDebug
	}
	select {
	case <-s.stopping:
		return slog.LevelDebug
	default:
		return zaplog.Level(e)
	}
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
