package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/api"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/host"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/driver/netns"
)

// memoryHost is an agent between a store, an engine and a kernel in memory.
type memoryHost struct {
	wire           *storetest.Wire
	engine         *enginetest.Engine
	plugin, status *api.Client
	sockets        []string
	end            context.CancelCauseFunc
	ended          chan error
}

// startHost starts the agent of a host on that store, with further settings.
func startHost(t *testing.T, mem *storetest.Mem, name string, settings ...string) *memoryHost {
	t.Helper()
	return startHostWith(t, mem, name, nil, settings...)
}

// startHostWith has the host's kernel keep routes, if any.
func startHostWith(t *testing.T, mem *storetest.Mem, name string, routes host.Routes, settings ...string) *memoryHost {
	t.Helper()
	folder, err := os.MkdirTemp("", "gvlan") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	status, plugin := filepath.Join(folder, "status.sock"), filepath.Join(folder, "gvlan.sock")
	loaded := settingsFrom(t, append(settings, "--node-name", name, "--data-dir", folder, "--plugin-socket-dir", folder, "--status-socket", status,
		"--advertise", "127.0.0.1", "--gossip", "off", "--dns", "off")...)
	if err := loaded.Check(); err != nil {
		t.Fatal(err)
	}
	kernel := linktest.New("gvlan")
	kernel.Add(link.Interface{Name: "eth1", Up: true})
	wire, engine := storetest.NewWire(mem), enginetest.New()
	a, err := New(t.Context(), loaded.Config, Identity{Node: name, Install: "install-" + name, Boot: "boot", Host: "host-" + name}, Outside{
		Store: wire, Links: kernel, Engine: engine, Reach: routes,
		Routes:    func() ([]netip.Prefix, error) { return nil, nil },
		AskLAN:    func(context.Context, string, []netip.Addr) ([]netip.Addr, error) { return nil, nil },
		Elsewhere: func() ([]*netns.Namespace, error) { return nil, nil },
	}, "v1", slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	h := &memoryHost{wire: wire, engine: engine, plugin: api.NewClient(plugin), status: api.NewClient(status), sockets: []string{plugin, status}, ended: make(chan error, 1)}
	ctx, end := context.WithCancelCause(context.Background())
	h.end = end
	go func() { h.ended <- a.Run(ctx) }()
	return h
}

// stop ends the agent as a signal would, and expects nothing to be left.
func (h *memoryHost) stop(t *testing.T, why error) {
	t.Helper()
	h.end(why)
	if err := <-h.ended; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	for _, socket := range h.sockets {
		if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", socket, err)
		}
	}
}

// eventually asks until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 30 s: %s", what)
		}
	}
}

// TestHostsInMemory: agents are built as on a real host, answer Docker and
// operators, know each other by the store, and leave nothing behind.
func TestHostsInMemory(t *testing.T) {
	mem := storetest.NewMem()
	h1, h2 := startHost(t, mem, "h1"), startHost(t, mem, "h2")
	eventually(t, "both hosts are ready on h1", func() bool {
		var nodes []api.NodeView
		if err := h1.status.Get(t.Context(), api.NodesRoute, &nodes); err != nil {
			t.Fatal(err)
		}
		return len(nodes) == 2 && nodes[0].State == "ready" && nodes[1].State == "ready" && nodes[1].Host == "host-h2"
	})
	var status api.Status
	if err := h2.status.Get(t.Context(), api.StatusRoute, &status); err != nil || status.Node != "h2" || !status.Etcd.Trusted || status.Gossip != nil {
		t.Errorf("h2 says of itself %+v, %v", status, err)
	}
	for _, h := range []*memoryHost{h1, h2} {
		var manifest struct{ Implements []string }
		if err := h.plugin.Ask(t.Context(), http.MethodPost, "/Plugin.Activate", &manifest); err != nil || len(manifest.Implements) != 2 {
			t.Errorf("Docker is answered %v, %v", manifest, err)
		}
	}
	if err := h1.status.Ask(t.Context(), http.MethodPost, api.Named(api.DrainRoute, "host-h2"), &struct{}{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "h2 knows that it is drained", func() bool {
		var nodes []api.NodeView
		if err := h2.status.Get(t.Context(), api.NodesRoute, &nodes); err != nil {
			t.Fatal(err)
		}
		return len(nodes) == 2 && nodes[1].Drained
	})
	h2.stop(t, ErrSucceeded)
	if it, err := mem.Get(t.Context(), store.LiveKey("h2")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("h2 is connected after its end: %+v, %v", it, err)
	}
	h1.stop(t, context.Canceled)
}
