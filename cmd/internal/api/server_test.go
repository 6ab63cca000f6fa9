package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// serve starts a status server of its own and returns a client of it.
func serve(t *testing.T, status Status) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "gvlan.sock")
	server, err := NewServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server.Handle("GET "+StatusRoute, func(*http.Request) (any, error) { return status, nil })
	server.Handle("GET /v1/broken", func(*http.Request) (any, error) { return nil, errors.New("etcd does not answer") })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serving ended with %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return NewClient(path)
}

func TestStatusOverTheSocket(t *testing.T) {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := Status{Node: "n1", Host: "host1", Started: started, Networks: []NetworkStatus{{Name: "lan1", Subnets: []string{"10.9.0.0/16"}}}}
	client := serve(t, want)

	var got Status
	if err := client.Get(t.Context(), StatusRoute, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if err := client.Get(t.Context(), "/v1/broken", &got); err == nil || err.Error() != "etcd does not answer" {
		t.Errorf("the agent's error arrived as %v", err)
	}
	if err := client.Get(t.Context(), "/v1/later", &got); err == nil || !strings.Contains(err.Error(), "older than this command") {
		t.Errorf("an unknown route arrived as %v", err)
	}
	info, err := os.Stat(client.path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket's mode is %o: others than root could ask", mode)
	}
}

// TestAnyNameOverTheSocket: a name is any text, and arrives as it was typed.
func TestAnyNameOverTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gvlan.sock")
	server, err := NewServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	echo := func(r *http.Request) (any, error) { return NameIn(r), nil }
	for _, route := range []string{"GET " + NetworkRoute, "DELETE " + NetworkRoute, "POST " + ImportRoute, "POST " + DrainRoute} {
		server.Handle(route, echo)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	client := NewClient(path)
	for _, name := range []string{"lan", "prod/lan", "..", ".", "/", "a//b", "a b", "50%", "x?y#z&name=w", "büro"} {
		for route, method := range map[string]string{NetworkRoute: http.MethodGet, ImportRoute: http.MethodPost, DrainRoute: http.MethodPost} {
			var got string
			if err := client.Ask(t.Context(), method, Named(route, name), &got); err != nil || got != name {
				t.Errorf("%s of %q arrived as %q, %v", route, name, got, err)
			}
		}
		var got string
		if err := client.Ask(t.Context(), http.MethodDelete, Named(NetworkRoute, name)+"&force", &got); err != nil || got != name {
			t.Errorf("rm --force of %q arrived as %q, %v", name, got, err)
		}
	}
}

func TestStatusSocketOfADeadAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gvlan.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewServer(path, nil); err == nil || !strings.Contains(err.Error(), "another agent answers there") {
		t.Errorf("the socket of a living agent: %v, want a refusal", err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	server, err := NewServer(path, nil)
	if err != nil {
		t.Fatalf("the socket of a dead agent: %v", err)
	}
	server.listener.Close()
}

// TestAnswersEndBeforeTheServer: an agent that begins anew in its process has the
// same host as one whose answer is still being made.
func TestAnswersEndBeforeTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	server, err := NewServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	asked, ended := make(chan struct{}), make(chan struct{})
	server.Handle("POST /v1/slow", func(r *http.Request) (any, error) {
		close(asked)
		<-r.Context().Done() // as when the server goes, or who asked
		time.Sleep(100 * time.Millisecond)
		close(ended)
		return struct{}{}, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	go func() { _ = NewClient(path).Ask(t.Context(), http.MethodPost, "/v1/slow", &struct{}{}) }()
	<-asked
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	default:
		t.Error("the server ended before its answer")
	}
}

// TestStream: each value arrives when it is told, and whoever ends it, the other
// side notices.
func TestStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gvlan.sock")
	server, err := NewServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	server.Stream("GET /v1/forever", func(r *http.Request, tell func(any) error) error {
		if err := tell(1); err != nil {
			return err
		}
		<-r.Context().Done()
		gone <- r.Context().Err()
		return nil
	})
	server.Stream("GET /v1/breaks", func(_ *http.Request, tell func(any) error) error {
		return errors.Join(tell(1), errors.New("etcd does not answer:\nno leader"))
	})
	server.Stream("GET /v1/broken", func(*http.Request, func(any) error) error { return errors.New("no event is of kind x") })
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	client := NewClient(path)
	enough := errors.New("enough")
	for name, test := range map[string]struct {
		route string
		tell  func(cancel func(), value int) error
		want  string
	}{
		"the client fails":          {"/v1/forever", func(_ func(), _ int) error { return enough }, "enough"},
		"the client is interrupted": {"/v1/forever", func(cancel func(), _ int) error { cancel(); return nil }, ""},
		"it breaks off":             {"/v1/breaks", func(func(), int) error { return nil }, "etcd does not answer:\nno leader"},
		"refused":                   {"/v1/broken", nil, "no event is of kind x"},
		"an older agent":            {"/v1/later", nil, "this agent does not know that question: it is older than this command"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		err := Follow(ctx, client, test.route, func(value int) error { return test.tell(cancel, value) })
		cancel()
		if got := ""; err != nil && err.Error() != test.want || err == nil && test.want != got {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if test.route == "/v1/forever" && <-gone == nil {
			t.Errorf("%s: the agent goes on", name)
		}
	}
	err = Follow(t.Context(), client, "/v1/forever", func(int) error { end(); return nil })
	if err == nil || err.Error() != "the agent ended" {
		t.Errorf("the agent ended, and the client with %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
