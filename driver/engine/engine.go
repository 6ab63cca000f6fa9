package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
)

// DefaultSocket is where dockerd listens unless it is told otherwise.
const DefaultSocket = "/var/run/docker.sock"

// Default deadlines of one call. A change may wait for the plugin itself: Docker
// keeps trying for 15 s per plugin call while the plugin's socket does not answer,
// and a disconnect makes four of them.
const (
	DefaultReadTimeout   = 10 * time.Second
	DefaultChangeTimeout = 2 * time.Minute
)

// Config says which engine to speak to. Zero fields take their defaults.
type Config struct {
	// Socket is the absolute path of the engine's unix socket; DefaultSocket if empty.
	Socket string
	// ReadTimeout bounds a call that only reads; DefaultReadTimeout if zero.
	ReadTimeout time.Duration
	// ChangeTimeout bounds a call that changes something; DefaultChangeTimeout if
	// zero. A change whose deadline passes goes on in the engine: its outcome is
	// unknown until the object is listed.
	ChangeTimeout time.Duration
}

// Engine is the Docker Engine of one host. It is safe for concurrent use and
// connects when it is first asked something, so that it may be made before dockerd
// runs.
type Engine struct {
	socket        string
	readTimeout   time.Duration
	changeTimeout time.Duration

	raw     *http.Client
	current atomic.Pointer[session]

	now   func() time.Time
	after func(time.Duration) <-chan time.Time
}

// session is an API version agreed with the engine. It lasts until the event
// stream breaks, because the dockerd that comes back may be another version.
type session struct {
	api     *client.Client
	version string // for example "1.41"
}

// below says whether the agreed API version is lower than version.
func (s *session) below(version string) bool { return versions.LessThan(s.version, version) }

// New returns the engine behind cfg.Socket without connecting to it. It fails only
// when the path is not absolute.
func New(cfg Config) (*Engine, error) {
	if cfg.Socket == "" {
		cfg.Socket = DefaultSocket
	}
	if !filepath.IsAbs(cfg.Socket) {
		return nil, fmt.Errorf("use engine socket %q: give an absolute path, as %s", cfg.Socket, DefaultSocket)
	}
	e := &Engine{
		socket:        cfg.Socket,
		readTimeout:   orDefault(cfg.ReadTimeout, DefaultReadTimeout),
		changeTimeout: orDefault(cfg.ChangeTimeout, DefaultChangeTimeout),
		now:           time.Now,
		after:         time.After,
	}
	e.raw = &http.Client{Transport: &http.Transport{
		DialContext:     e.dial,
		MaxIdleConns:    4,
		IdleConnTimeout: 30 * time.Second,
	}}
	return e, nil
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

func (e *Engine) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", e.socket)
}

// Socket is the path of the unix socket.
func (e *Engine) Socket() string { return e.socket }

// Close lets go of idle connections. The engine may be used again afterwards.
func (e *Engine) Close() error {
	e.forget()
	return nil
}

// Ready returns nil once the engine answers and has finished its start-up:
// dockerd serves no request, not even a ping, before its networks are restored
// and its restart-policy containers were started (NewDaemon precedes Serve in
// moby's cmd/dockerd, 20.10 to 28.5). Else the error is ErrUnavailable.
func (e *Engine) Ready(ctx context.Context) error {
	return e.read(ctx, "ping the engine", func(ctx context.Context, s *session) error {
		_, err := s.api.Ping(ctx, client.PingOptions{})
		return err
	})
}

// read runs do within the deadline of a call that changes nothing.
func (e *Engine) read(ctx context.Context, op string, do func(context.Context, *session) error) error {
	return e.call(ctx, op, e.readTimeout, do)
}

// change runs do within the deadline of a call that changes something.
func (e *Engine) change(ctx context.Context, op string, do func(context.Context, *session) error) error {
	return e.call(ctx, op, e.changeTimeout, do)
}

func (e *Engine) call(ctx context.Context, op string, limit time.Duration, do func(context.Context, *session) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := e.agree(ctx)
	if err == nil {
		err = do(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, classify(err))
	}
	return nil
}

// agree returns the session, asking the engine for its API version if none is.
// Without it the client would address an engine it could not reach by the newest
// version it knows, and report that instead of the missing engine.
func (e *Engine) agree(ctx context.Context) (*session, error) {
	if s := e.current.Load(); s != nil {
		return s, nil
	}
	api, err := client.New(client.WithHTTPClient(e.raw), client.WithScheme("http"), client.WithHost("unix://"+e.socket))
	if err != nil {
		return nil, fmt.Errorf("use socket %s: %w", e.socket, err)
	}
	ctx, cancel := context.WithTimeout(ctx, e.readTimeout)
	defer cancel()
	if _, err := api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return nil, errors.Join(err, api.Close())
	}
	s := &session{api: api, version: api.ClientVersion()}
	if !e.current.CompareAndSwap(nil, s) {
		_ = api.Close() // another call agreed first; nothing of ours is in flight
	}
	return s, nil
}

// forget ends the session, so that the next call agrees on a version anew.
func (e *Engine) forget() {
	if s := e.current.Swap(nil); s != nil {
		_ = s.api.Close() // only idle connections: calls in flight end by themselves
	}
	e.raw.CloseIdleConnections()
}
