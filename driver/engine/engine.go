package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errhttp"
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

// below reports whether the agreed API version is lower than version.
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

// Requests the moby client cannot make, or whose answers it cannot read:
//   - POST /networks/create, because below API 1.44 CheckDuplicate must be said;
//   - GET /networks, because one odd value in one network of any driver (20.10
//     prints an automatic IPv6 gateway as "fd00::1/64", or as "<nil>") makes the
//     client's typed decoding lose the whole list;
//   - GET /tasks, for the same reason (an address not yet allocated has no prefix);
//   - GET /events, because a stream that is read without a goroutine needs none
//     to be waited for.

// maxErrorBody bounds what is read of a refusal, in bytes.
const maxErrorBody = 64 << 10

func (e *Engine) get(ctx context.Context, s *session, path string, query url.Values, into any) error {
	body, err := e.do(ctx, s, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return decode(body, into)
}

func (e *Engine) post(ctx context.Context, s *session, path string, request, into any) error {
	encoded, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	body, err := e.do(ctx, s, http.MethodPost, path, nil, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	defer body.Close()
	return decode(body, into)
}

func decode(body io.Reader, into any) error {
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// do sends one request under the agreed version and returns the body of a
// successful answer, which the caller closes.
func (e *Engine) do(ctx context.Context, s *session, method, path string, query url.Values, body io.Reader) (io.ReadCloser, error) {
	target := url.URL{Scheme: "http", Host: "docker.localhost", Path: "/v" + s.version + path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := e.raw.Do(req)
	if err != nil {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, fmt.Errorf("%w: %w", errdefs.ErrUnavailable, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// refusal turns an error answer (Engine API "ErrorResponse") into an error that
// carries the errdefs class of its status, as the moby client's errors do.
func refusal(resp *http.Response) error {
	class := errhttp.ToNative(resp.StatusCode)
	if class == nil {
		class = errdefs.ErrUnknown
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", resp.Status, class), err)
	}
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Message == "" {
		answer.Message = resp.Status
	}
	return &refused{words: answer.Message, class: class}
}

// refused is a refusal in the engine's own words. Its class (errdefs) is for
// errors.Is and no word more.
type refused struct {
	words string
	class error
}

func (r *refused) Error() string { return r.words }

func (r *refused) Unwrap() error { return r.class }

// Info asks the engine what it is. The engine gives no start time; a restart is
// told by Watch, whose stream it breaks.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	var info Info
	err := e.read(ctx, "read engine info", func(ctx context.Context, s *session) error {
		answer, err := s.api.Info(ctx, client.InfoOptions{})
		if err != nil {
			return err
		}
		info = infoFrom(answer.Info, s.version)
		return nil
	})
	return info, err
}

// ManagedPlugins names the managed plugins the engine has, enabled or not, with
// their tag. Info lists the enabled ones only.
func (e *Engine) ManagedPlugins(ctx context.Context) ([]string, error) {
	var names []string
	err := e.read(ctx, "list managed plugins", func(ctx context.Context, s *session) error {
		answer, err := s.api.PluginList(ctx, client.PluginListOptions{})
		if err != nil {
			return err
		}
		names = nil
		for _, p := range answer.Items {
			names = append(names, p.Name)
		}
		return nil
	})
	return names, err
}

// How long Watch waits before it tries the engine again: doubled from first to
// last, and from the first again once the stream was up.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Watch follows the engine's events until ctx ends, and then returns its error. It
// reconnects for ever, and tells of it by events of KindStream: what the consumer
// lists after ActionConnected and is told from then on leaves no gap, but may tell
// of one thing twice.
//
// deliver is called from one goroutine and must not block: the engine drops events
// for a reader that lags behind by more than about a thousand.
func (e *Engine) Watch(ctx context.Context, deliver func(Event)) error {
	up, told := false, false
	wait := firstRetry
	for {
		err := e.follow(ctx, func(event Event) {
			up = true
			deliver(event)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.forget()
		if up {
			up, told, wait = false, false, firstRetry
		}
		if !told {
			told = true
			deliver(Event{Kind: KindStream, Action: ActionLost, Err: err, Time: e.now()})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.after(wait):
			wait = min(2*wait, lastRetry)
		}
	}
}

// follow reads one stream to its end, which is always an error.
func (e *Engine) follow(ctx context.Context, deliver func(Event)) error {
	s, err := e.agree(ctx)
	if err != nil {
		return fmt.Errorf("watch events: %w", classify(err))
	}
	// The engine answers before it subscribes us. Asking for what was since we asked
	// closes that gap: it keeps its last 256 events.
	body, err := e.do(ctx, s, http.MethodGet, "/events", eventQuery(e.now()), nil)
	if err != nil {
		return fmt.Errorf("watch events: %w", classify(err))
	}
	defer body.Close()
	deliver(Event{Kind: KindStream, Action: ActionConnected, Time: e.now()})
	return fmt.Errorf("watch events: %w", classify(readEvents(body, deliver)))
}

// SwarmNetworks lists the networks of the cluster with their address pools. Only
// managers know them: others fail with ErrNotManager.
func (e *Engine) SwarmNetworks(ctx context.Context) ([]Network, error) {
	const op = "list swarm networks"
	// A manager that lost its leader lists networks without those of the cluster,
	// and without an error. It does not answer for the swarm itself then.
	err := e.cluster(ctx, op, func(ctx context.Context, s *session) error {
		_, err := s.api.SwarmInspect(ctx, client.SwarmInspectOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.networks(ctx, op, url.Values{"filters": {`{"scope":{"swarm":true}}`}})
}

// cluster reads what only a manager knows.
func (e *Engine) cluster(ctx context.Context, op string, do func(context.Context, *session) error) error {
	err := e.read(ctx, op, do)
	if !errors.Is(err, ErrUnavailable) {
		return err
	}
	// 503 is what a manager without a leader answers, and also what any other engine
	// answers for ever.
	if info, infoErr := e.Info(ctx); infoErr == nil && info.Swarm.State != SwarmManager {
		return fmt.Errorf("%s: %w: its swarm state is %s", op, ErrNotManager, info.Swarm.State)
	}
	return err
}

// Services lists the services of the cluster. Only managers know them: others fail
// with ErrNotManager.
func (e *Engine) Services(ctx context.Context) ([]Service, error) {
	var list []Service
	err := e.cluster(ctx, "list services", func(ctx context.Context, s *session) error {
		answer, err := s.api.ServiceList(ctx, client.ServiceListOptions{})
		if err != nil {
			return err
		}
		list = make([]Service, 0, len(answer.Items))
		for _, service := range answer.Items {
			list = append(list, serviceFrom(service))
		}
		return nil
	})
	return list, err
}

// everyTask asks for attachments (containers of `docker run` on an attachable
// network) beside services' containers, which is all that the API lists unasked.
const everyTask = `{"runtime":{"":true,"attachment":true,"container":true}}`

// Tasks lists the tasks of the cluster, also those that ended and are kept as
// history, and those that stand for an attached container. Only managers know them: others fail with ErrNotManager.
func (e *Engine) Tasks(ctx context.Context) ([]Task, error) {
	var list []Task
	err := e.cluster(ctx, "list tasks", func(ctx context.Context, s *session) error {
		var answer []taskAnswer
		if err := e.get(ctx, s, "/tasks", url.Values{"filters": {everyTask}}, &answer); err != nil {
			return err
		}
		list = make([]Task, 0, len(answer))
		for _, a := range answer {
			list = append(list, a.task())
		}
		return nil
	})
	return list, err
}
