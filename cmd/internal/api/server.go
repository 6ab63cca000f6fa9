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
	"sync"
	"time"
)

// Server answers operator commands with JSON over HTTP on a Unix socket that
// only root can open.
type Server struct {
	mux      *http.ServeMux
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
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the status socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("keep the status socket to root: %w", err)
	}
	return &Server{mux: http.NewServeMux(), listener: listener, log: log, ending: make(chan struct{})}, nil
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

// Handle registers an answer under a pattern of http.ServeMux, such as "GET
// /v1/status". What answer returns is sent as JSON, its lists as such also
// where they are nil; an error is sent in words.
func (s *Server) Handle(pattern string, answer func(*http.Request) (any, error)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.answers.Add(1)
		defer s.answers.Done()
		value, err := answer(r)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			value = problem{Error: err.Error()}
		}
		if err := json.NewEncoder(w).Encode(WithLists(value)); err != nil {
			s.log.Debug("an answer on the status socket was not read", "route", pattern, "err", err)
		}
	})
}

// Stream registers an answer that goes on for as long as the client reads it, the
// agent lives and answer does not fail: each value that it tells is sent at once,
// as a line of JSON. An error is sent in words, behind the values there were.
func (s *Server) Stream(pattern string, answer func(r *http.Request, tell func(any) error) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.answers.Add(1)
		defer s.answers.Done()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() {
			select {
			case <-s.ending:
				cancel()
			case <-ctx.Done():
			}
		}()
		told := false
		encoder, flusher := json.NewEncoder(w), http.NewResponseController(w)
		err := answer(r.WithContext(ctx), func(value any) error {
			told = true
			return errors.Join(encoder.Encode(value), flusher.Flush())
		})
		if err != nil && !told {
			w.WriteHeader(http.StatusInternalServerError)
			err = encoder.Encode(problem{Error: err.Error()})
		}
		if err != nil && ctx.Err() == nil {
			w.Header().Set(http.TrailerPrefix+failedTrailer, url.QueryEscape(err.Error())) // a header is one line
			s.log.Debug("an answer on the status socket ended", "route", pattern, "err", err)
		}
	})
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

// problem is the body of an answer that failed.
type problem struct {
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
