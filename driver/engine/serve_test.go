package engine

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"
)

// server is an engine of canned answers, for what real engines seldom say.
type server struct {
	*http.ServeMux
	version string
}

// serve starts a server of one API version, and returns it and the Engine that asks
// it. Handlers are added under the version's prefix by on.
func serve(t *testing.T, version string) (*server, *Engine) {
	t.Helper()
	s := &server{ServeMux: http.NewServeMux(), version: version}
	s.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", s.version)
	})
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	web := &httptest.Server{Listener: listener, Config: &http.Server{Handler: s}}
	web.Start()
	t.Cleanup(web.Close)
	e, err := New(Config{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return s, e
}

// on answers requests of a pattern as in "GET /networks".
func (s *server) on(method, path string, handle http.HandlerFunc) {
	s.HandleFunc(method+" /v"+s.version+path, handle)
}

// say answers requests with a status and a body.
func (s *server) say(method, path string, status int, body string) {
	s.on(method, path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
}

// stopClock makes the engine's clock stand at a moment.
func stopClock(e *Engine) time.Time {
	moment := time.Unix(1_700_000_000, 42)
	e.now = func() time.Time { return moment }
	return moment
}
