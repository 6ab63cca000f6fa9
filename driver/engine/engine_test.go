package engine

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

func TestNewRefusesRelativeSocket(t *testing.T) {
	if _, err := New(Config{Socket: "docker.sock"}); err == nil {
		t.Error("got no error")
	}
	e, err := New(Config{})
	if err != nil || e.Socket() != DefaultSocket {
		t.Errorf("socket by default: got %s, %v; want %s", e.Socket(), err, DefaultSocket)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
	}{
		{"unknown", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusNotFound) }, ErrNotFound},
		{"starting", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusServiceUnavailable) }, ErrUnavailable},
		{"ended before it answered", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable},
		{"ended in its answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`[{"Id":`))
		}, ErrUnavailable},
		{"answers too late", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, e := serve(t, "1.41")
			s.on("GET", "/networks", c.answer)
			s.on("GET", "/containers/json", c.answer)
			if err := e.Ready(t.Context()); err != nil { // the ping is not what is slow
				t.Fatal(err)
			}
			e.readTimeout = 50 * time.Millisecond
			if _, err := e.Networks(t.Context(), ""); !errors.Is(err, c.want) {
				t.Errorf("own request: got error %v, want %v", err, c.want)
			}
			if _, err := e.Containers(t.Context()); !errors.Is(err, c.want) {
				t.Errorf("client's request: got error %v, want %v", err, c.want)
			}
		})
	}
}

func TestNoEngine(t *testing.T) {
	e, err := New(Config{Socket: filepath.Join(t.TempDir(), "none.sock")})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Ready(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got error %v, want %v", err, ErrUnavailable)
	}
}

func TestCallersContextIsNotTheEnginesFault(t *testing.T) {
	s, e := serve(t, "1.41")
	ctx, cancel := context.WithCancel(t.Context())
	s.on("GET", "/networks", func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := e.Networks(ctx, "")
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Errorf("got error %v, want %v alone", err, context.Canceled)
	}
}

func TestRefusalKeepsTheEnginesWords(t *testing.T) {
	s, e := serve(t, "1.41")
	s.say("POST", "/networks/create", http.StatusInternalServerError, `{"message":"remote: no parent"}`)
	_, err := e.CreateNetwork(t.Context(), NetworkRequest{Name: "lan1", IPv4: true})
	if want := "create network lan1: remote: no parent"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
