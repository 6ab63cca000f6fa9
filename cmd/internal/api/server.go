package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/driver/socket"
)

// Server answers operator commands with JSON over HTTP on a Unix socket that
// only root can open.
type Server struct {
	mux      *http.ServeMux
	asked    map[string]question // by what is served on GET, a path
	listener net.Listener
	log      *slog.Logger
	answers  sync.WaitGroup // that are being made
	ending   chan struct{}  // closed when Run is to end
}

// NewServer takes the socket; Run serves it. The folder is made if need be, a
// socket left behind by a dead agent is replaced.
func NewServer(path string, log *slog.Logger) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the status socket's folder: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := socket.Listen(context.Background(), path)
	if err != nil {
		return nil, fmt.Errorf("listen on the status socket: %w", err)
	}
	return &Server{mux: http.NewServeMux(), asked: map[string]question{}, listener: listener, log: log, ending: make(chan struct{})}, nil
}

// removeStale removes a socket nobody listens on.
func removeStale(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("listen on the status socket %s: another agent answers there; give this one its own --status-socket", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("replace the old status socket: %w", err)
	}
	return nil
}

// question is one that the agent answers: with a value, or with as many as are told.
type question struct {
	answer func(*http.Request) (any, error)
	stream func(r *http.Request, tell func(any) error) error
}

// Handle registers an answer under a pattern of http.ServeMux, such as "GET
// /v1/status". What answer returns is sent as JSON, its lists as such also
// where they are nil; an error is sent in words.
func (s *Server) Handle(pattern string, answer func(*http.Request) (any, error)) {
	s.register(pattern, question{answer: answer})
}

// Stream registers an answer that goes on for as long as the client reads it, the
// agent lives and answer does not fail: each value that it tells is sent at once,
// as a line of JSON. An error is sent in words, behind the values there were.
func (s *Server) Stream(pattern string, answer func(r *http.Request, tell func(any) error) error) {
	s.register(pattern, question{stream: answer})
}

func (s *Server) register(pattern string, q question) {
	if path, reads := strings.CutPrefix(pattern, "GET "); reads {
		s.asked[path] = q
	}
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, q, func(error) int { return http.StatusInternalServerError }) // what an older command knows
	})
}

// Site registers pages under a path that ends in "/". What goes on ends with the
// agent.
func (s *Server) Site(path string, site http.Handler) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		ctx, end := s.untilEnd(r.Context())
		defer end()
		site.ServeHTTP(w, r.WithContext(ctx))
	})
}

// untilEnd is a context that ends also when Run is to end; end lets go of it.
func (s *Server) untilEnd(ctx context.Context) (within context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// serve answers a question; an error is sent with its status.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, q question, status func(error) int) {
	s.answers.Add(1)
	defer s.answers.Done()
	if q.stream != nil {
		s.follow(w, r, q.stream, status)
		return
	}
	value, err := q.answer(r)
	if err != nil {
		w.WriteHeader(status(err))
		value = Failed{Error: err.Error()}
	}
	if err := json.NewEncoder(w).Encode(WithLists(value)); err != nil {
		s.log.Debug("an answer on the status socket was not read", "route", r.Pattern, "err", err)
	}
}

// follow serves a stream.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, stream func(*http.Request, func(any) error) error, status func(error) int) {
	ctx, end := s.untilEnd(r.Context())
	defer end()
	told := false
	encoder, flusher := json.NewEncoder(w), http.NewResponseController(w)
	err := stream(r.WithContext(ctx), func(value any) error {
		told = true
		return errors.Join(encoder.Encode(value), flusher.Flush())
	})
	if err != nil && !told {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status(err))
		err = encoder.Encode(Failed{Error: err.Error()})
	}
	if err != nil && ctx.Err() == nil {
		w.Header().Set(http.TrailerPrefix+failedTrailer, url.QueryEscape(err.Error())) // a header is one line
		s.log.Debug("an answer on the status socket ended", "route", r.Pattern, "err", err)
	}
}

// Reader asks an agent in its own process what can be asked without changing
// anything: the GETs of the status socket.
type Reader struct{ server *Server }

// Reader is of this server's agent.
func (s *Server) Reader() Reader { return Reader{s} }

// Answer is what a route with its query is answered with: the value that is sent as
// JSON elsewhere. Those that go on are answered by ServeHTTP only.
func (a Reader) Answer(ctx context.Context, route string) (any, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, route, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask this agent: %w", err)
	}
	q, known := a.server.asked[r.URL.Path]
	if !known || q.answer == nil {
		return nil, fmt.Errorf("ask this agent: nothing answers %s", r.URL.Path)
	}
	a.server.answers.Add(1)
	defer a.server.answers.Done()
	return q.answer(r)
}

// ServeHTTP answers a GET of a route in JSON, and an error in words with the
// status of its kind (StatusOf).
func (a Reader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, known := a.server.asked[r.URL.Path]
	if !known || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if q.stream != nil {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	a.server.serve(w, r, q, StatusOf)
}

// failure is an error of which it is known whose fault it is.
type failure struct {
	error
	status int
}

func (f failure) Unwrap() error { return f.error }

// Refuse marks an error as the asker's, who is told so on the page and in its
// JSON: the question has no answer as it stands.
func Refuse(err error) error { return failure{err, http.StatusBadRequest} }

// Missing marks an error as that of a thing that is asked for and is not there.
func Missing(err error) error { return failure{err, http.StatusNotFound} }

// StatusOf is the HTTP status of an error: 400 and 404 where it was marked by Refuse
// and Missing, 503 while etcd does not answer, else 500.
func StatusOf(err error) int {
	if f, ok := errors.AsType[failure](err); ok {
		return f.status
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// failedTrailer says behind a stream why it ended.
const failedTrailer = "Gvlan-Failed"

// BodyOf reads what a client sent with Client.Send.
func BodyOf[T any](r *http.Request) (body T, err error) {
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return body, fmt.Errorf("read the request: %w", err)
	}
	return body, nil
}

// Failed is the body of an answer that failed.
type Failed struct {
	Error string `json:"error"`
}

// Run serves until ctx ends, and removes the socket. When it returns no answer is
// being made: an agent that begins anew in this process has the same host.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{Handler: s.mux, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		close(s.ending)
		stopped <- server.Shutdown(grace)
	})
	err := server.Serve(s.listener)
	if stop() { // ctx did not end: the listener broke
		return fmt.Errorf("serve the status socket: %w", err)
	}
	if err := <-stopped; err != nil {
		server.Close() // a command that does not read its answer must not hold the agent
		s.answers.Wait()
	}
	return nil
}
