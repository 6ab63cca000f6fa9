package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gvlan/cluster/store"
	"gvlan/driver/visible"
)

// Check is something that must be well for containers to start on this host.
type Check struct {
	Name string
	Ask  func(context.Context) error // why it is not; bounded by its context
}

// Server answers on --metrics-listen.
type Server struct {
	Listen  string // HOST:PORT; "": nowhere
	Profile bool   // serve Go's profiles too
	Metrics *Metrics
	Live    func(context.Context) error // whether this agent answers Docker
	Ready   []Check
	Log     *slog.Logger
}

const (
	// listenAgain is when an address that cannot be had is tried again: it may be
	// one of an interface that is yet to come up.
	listenAgain = 2 * time.Second
	// asking bounds what /healthz and /readyz wait for.
	asking = 3 * time.Second
	// readLimit bounds how long a request may take to arrive.
	readLimit = 5 * time.Second
	// endLimit is how long answers may take that are under way when the agent
	// ends; a profile that is being taken does not hold it up.
	endLimit = time.Second
)

// Run listens until ctx ends. An address that cannot be had is told once, and
// when it is had after all: containers do not need it.
func (s *Server) Run(ctx context.Context) error {
	if s.Listen == "" {
		return nil
	}
	var since time.Time
	for {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
		if err == nil {
			if !since.IsZero() {
				s.Log.Info("metrics are served", "address", s.Listen, "after", time.Since(since).Round(time.Second))
			}
			return s.serve(ctx, listener)
		}
		if since.IsZero() && ctx.Err() == nil {
			since = time.Now()
			s.Log.Error("metrics are not served on the address of --metrics-listen: tried again every two seconds", "address", s.Listen, "err", err)
		}
		if !store.Sleep(ctx, listenAgain) {
			return nil
		}
	}
}

// serve answers on a listener until ctx ends.
func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: readLimit, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve metrics on %s: %w", s.Listen, err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	if server.Shutdown(end) != nil {
		_ = server.Close()
	}
	<-served
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.Profile {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// healthz says whether the agent lives: whether it answers Docker.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	answer(w, r, []Check{{Name: "plugin", Ask: s.Live}})
}

// readyz says whether containers can start here, and why not.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) { answer(w, r, s.Ready) }

// answer asks all of the checks at once, and says a line of each.
func answer(w http.ResponseWriter, r *http.Request, checks []Check) {
	ctx, cancel := context.WithTimeout(r.Context(), asking)
	defer cancel()
	failed := make([]error, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		all.Go(func() { failed[i] = check.Ask(ctx) })
	}
	all.Wait()
	status, lines := http.StatusOK, &strings.Builder{}
	for i, check := range checks {
		if failed[i] == nil {
			fmt.Fprintf(lines, "ok %s\n", check.Name)
			continue
		}
		status = http.StatusServiceUnavailable
		fmt.Fprintf(lines, "not ok %s: %s\n", check.Name, strings.ReplaceAll(visible.Text(failed[i].Error()), "\n", "; "))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(lines.String())) // whoever asked may be gone
}
