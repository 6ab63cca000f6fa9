package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gvlan/cmd/internal/listen"
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
	// asking bounds what /healthz and /readyz wait for.
	asking = 3 * time.Second
	// readLimit bounds how long a request may take to arrive.
	readLimit = 5 * time.Second
	// idleLimit is what a client has between two requests; Prometheus asks every minute
	// at the latest.
	idleLimit = 2 * time.Minute
	// atOnce is how many connections there are at a time, and ofOne those of one address.
	atOnce = 64
	ofOne  = 16
)

// Run listens until ctx ends. An address that cannot be had is told once, and
// when it is had after all: containers do not need it. A profile that is being
// taken does not hold the end up.
func (s *Server) Run(ctx context.Context) error {
	if s.Listen == "" {
		return nil
	}
	place := &listen.Place{Address: s.Listen, Option: "metrics-listen", What: "metrics are", Log: s.Log}
	listener, had := place.Listen(ctx)
	if !had {
		return nil
	}
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: readLimit, IdleTimeout: idleLimit, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	if err := listen.Serve(ctx, server, listen.Crowd{All: atOnce, Strangers: atOnce, Each: ofOne}.Limit(listener)); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
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
