package plugin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestListenReplacesTheSocketOfADeadAgent: a crash leaves the file.
func TestListenReplacesTheSocketOfADeadAgent(t *testing.T) {
	folder, err := os.MkdirTemp("", "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if err := os.WriteFile(filepath.Join(folder, "gvlan.sock"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(folder, "gvlan")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(filepath.Join(folder, "gvlan.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", info, err)
	}
}

// TestServeLeavesNoConnection: Docker keeps its connections, and an agent that
// begins anew in the same process is to be called by the next call.
func TestServeLeavesNoConnection(t *testing.T) {
	folder := t.TempDir()
	docker := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(folder, "gvlan.sock"))
	}}}
	for swarm, want := range map[bool]string{true: "global", false: "local"} {
		l, err := Listen(folder, "gvlan")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- New(nil, nil, swarm, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
		answer, err := docker.Post("http://gvlan/NetworkDriver.GetCapabilities", "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Scope string }
		if err := json.NewDecoder(answer.Body).Decode(&said); err != nil || said.Scope != want {
			t.Errorf("answered with scope %q (%v), want %s: another plugin's connection is still served", said.Scope, err, want)
		}
		if err := answer.Body.Close(); err != nil {
			t.Error(err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
