package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/stats"

	"gvlan/cluster/store/internal/zaplog"
)

// DefaultPrefix is where a cluster's keys live in etcd.
const DefaultPrefix = "/gvlan/v1"

// How long etcd may stay silent.
const (
	// defaultAttempt ends one request, so that the next goes to another
	// member: a follower cut off from its leader keeps a request for 7 s.
	defaultAttempt = 2 * time.Second
	// keepAliveTime and keepAliveTimeout find a dead connection. Pings more
	// often than every 5 s are answered with GOAWAY (etcd's
	// GRPCKeepAliveMinTime).
	keepAliveTime    = 6 * time.Second
	keepAliveTimeout = 3 * time.Second
	// reconnectFirst and reconnectLongest lie between two attempts to connect
	// to a member. gRPC alone would wait for up to two minutes, and so not see
	// an etcd that is back for as long after a long outage.
	reconnectFirst   = 100 * time.Millisecond
	reconnectLongest = 2 * time.Second
	// connectLeast is what one attempt to connect gets: a SYN that is lost is
	// sent again after 1 and after 3 s.
	connectLeast = 4 * time.Second
)

// Config says where etcd is.
type Config struct {
	Endpoints []string    // "host:port", "http://host:port", "https://host:port" or "unix:///path"; all plain or all TLS
	Prefix    string      // of every key; "" means DefaultPrefix
	TLS       *tls.Config // nil: plain, or the host's own CAs for https endpoints
	User      string      // "" without etcd's user authentication
	Password  string
	Attempt   time.Duration // what one request may take before the next member is asked; 0 means 2 s
	// Broken tells why no request can be answered until the agent is restarted;
	// nil or a nil error: one can.
	Broken func() error
	Log    *slog.Logger
}

// Client is the store in an etcd cluster. It is a Backend.
type Client struct {
	config clientv3.Config
	prefix string
	limit  time.Duration // of one request
	// progress is how often a watch asks how far it is.
	progress time.Duration
	stream   atomic.Int64 // what new watches are on, see streamHeader
	asked    questions    // of watches, how far etcd is
	broken   func() error
	turn     chan struct{}            // holds one token: whoever has it may connect
	tls      *handshakes              // nil without TLS
	members  atomic.Pointer[[]string] // endpoints; changed by who has the turn
	client   *clientv3.Client         // nil until connected; guarded by turn
	closed   context.Context
	close    context.CancelFunc

	connections *connections
}

// New prepares a client. It does not connect: that happens with the
// first request, and again whenever the connection is lost. The error names
// the endpoint or setting that is wrong.
func New(c Config) (*Client, error) {
	if err := checkEndpoints(c.Endpoints, c.TLS != nil); err != nil {
		return nil, err
	}
	if c.User != "" && c.Password == "" {
		return nil, fmt.Errorf("etcd user %q has no password", c.User)
	}
	prefix, err := checkPrefix(c.Prefix)
	if err != nil {
		return nil, err
	}
	e := &Client{prefix: prefix, limit: cmp.Or(c.Attempt, defaultAttempt), progress: progressEvery, turn: make(chan struct{}, 1), connections: newConnections()}
	e.broken = c.Broken
	if e.broken == nil {
		e.broken = func() error { return nil }
	}
	e.members.Store(&c.Endpoints)
	e.closed, e.close = context.WithCancel(context.Background())
	e.config = clientv3.Config{
		TLS:                  c.TLS,
		Username:             c.User,
		Password:             c.Password,
		DialTimeout:          e.limit, // of the login
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		// The client would send a transaction twice when the server answers
		// with a code of its own context. What may be repeated is repeated
		// here.
		MaxUnaryRetries: 1,
		Logger:          zaplog.New(c.Log, zapcore.WarnLevel, zaplog.Debug),
		DialOptions:     []grpc.DialOption{grpc.WithChainUnaryInterceptor(noteCause), grpc.WithConnectParams(reconnect()), grpc.WithStatsHandler(e.connections)},
	}
	if c.TLS != nil || secure(c.Endpoints[0]) {
		e.tls = newHandshakes(c.TLS)
		// Given after the client's own, these credentials take their place.
		e.config.DialOptions = append(e.config.DialOptions, grpc.WithTransportCredentials(e.tls))
	}
	return e, nil
}

func checkEndpoints(endpoints []string, withTLS bool) error {
	if len(endpoints) == 0 {
		return errors.New("no etcd endpoint is given: want for example --etcd-endpoints=https://10.0.0.1:2379")
	}
	for _, endpoint := range endpoints {
		if err := checkEndpoint(endpoint, withTLS); err != nil {
			return err
		}
		if secure(endpoint) != secure(endpoints[0]) {
			return fmt.Errorf("etcd endpoints %q and %q: want all plain or all TLS", endpoints[0], endpoint)
		}
	}
	return nil
}

func checkEndpoint(endpoint string, withTLS bool) error {
	scheme, rest, ok := strings.Cut(endpoint, "://")
	if !ok {
		scheme, rest = "", endpoint
	}
	switch {
	case scheme == "http" && withTLS:
		return fmt.Errorf("etcd endpoint %q is plain, but certificates are given: want https://%s", endpoint, rest)
	case scheme == "unix" && strings.HasPrefix(rest, "/"):
		return nil
	case scheme != "" && scheme != "http" && scheme != "https":
		return fmt.Errorf("etcd endpoint %q: want host:port, http://host:port, https://host:port or unix:///path", endpoint)
	}
	if u, err := url.Parse("etcd://" + rest); err != nil || u.Hostname() == "" || u.Port() == "" || u.Path != "" {
		return fmt.Errorf("etcd endpoint %q: want a host and a port, for example 10.0.0.1:2379", endpoint)
	}
	return nil
}

// secure reports whether an endpoint asks for TLS by itself; without a scheme
// the client's certificates decide.
func secure(endpoint string) bool { return strings.HasPrefix(endpoint, "https://") }

func checkPrefix(prefix string) (string, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	trimmed := strings.TrimRight(prefix, "/")
	if !strings.HasPrefix(trimmed, "/") {
		return "", fmt.Errorf("etcd prefix %q: want one that starts with a slash and names a folder, for example %s", prefix, DefaultPrefix)
	}
	return trimmed, nil
}

// connected returns the client, making it when there is none. Making it
// takes a login when there is a user, so it may fail and be tried again.
func (e *Client) connected(ctx context.Context) (*clientv3.Client, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if e.closed.Err() != nil {
		return nil, e.closed.Err()
	}
	if e.client != nil {
		return e.client, nil
	}
	config := e.config
	config.Endpoints = e.endpoints()
	life, end := context.WithCancel(e.closed)
	life, cause := withCause(life)
	config.Context = life
	carryOn := context.AfterFunc(ctx, end)
	client, err := clientv3.New(config)
	if err != nil {
		end()
		return nil, e.tls.explain(cause.of(err))
	}
	if !carryOn() { // ctx ended, and the client's life with it
		_ = client.Close()
		return nil, ctx.Err()
	}
	e.client = client
	return client, nil
}

func (e *Client) endpoints() []string { return *e.members.Load() }

// SetEndpoints has the client ask other members from now on. They are TLS if
// the ones before were. Streams that stand stay until they end.
func (e *Client) SetEndpoints(endpoints []string) error {
	if err := checkEndpoints(endpoints, e.config.TLS != nil); err != nil {
		return err
	}
	if before := e.endpoints(); secure(endpoints[0]) != secure(before[0]) && e.config.TLS == nil {
		return fmt.Errorf("etcd endpoints %q after %q: want both plain or both TLS", endpoints[0], before[0])
	}
	endpoints = slices.Clone(endpoints)
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	e.members.Store(&endpoints)
	if e.client != nil {
		e.client.SetEndpoints(endpoints...)
	}
	return nil
}

// Close ends every call at work and the connection.
func (e *Client) Close() error {
	e.close()
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	if e.client == nil {
		return nil
	}
	client := e.client
	e.client = nil
	if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close the connection to etcd: %w", err)
	}
	return nil
}

// reconnect is how a lost connection is made again.
func reconnect() grpc.ConnectParams {
	return grpc.ConnectParams{
		Backoff:           grpcbackoff.Config{BaseDelay: reconnectFirst, Multiplier: 2, Jitter: 0.5, MaxDelay: reconnectLongest},
		MinConnectTimeout: connectLeast,
	}
}

// connections tells when a connection to a member was made. It is grpc's
// stats.Handler, of which it needs the one event.
type connections struct{ made chan struct{} }

func newConnections() *connections { return &connections{made: make(chan struct{}, 1)} }

// HandleConn implements stats.Handler. It must not wait.
func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, begun := s.(*stats.ConnBegin); !begun {
		return
	}
	select {
	case c.made <- struct{}{}:
	default:
	}
}

// TagConn implements stats.Handler.
func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements stats.Handler.
func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (c *connections) HandleRPC(context.Context, stats.RPCStats) {}

// Reconnected implements Reconnecter.
func (e *Client) Reconnected() <-chan struct{} { return e.connections.made }
