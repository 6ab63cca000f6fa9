package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cmd/internal/config"
)

// settingsFrom loads settings from command-line words alone.
func settingsFrom(t *testing.T, words ...string) config.Settings {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse(words); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(flags, []string{"GVLAN_CONFIG=/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// An embedded etcd whose data is damaged does not end the agent, and every
// request is told so.
func TestDamagedTruth(t *testing.T) {
	c := config.Config{DataDir: t.TempDir()}
	c.Etcd.Prefix = "/gvlan/v1"
	database := filepath.Join(c.DataDir, "etcd", "member", "snap", "db")
	if err := os.MkdirAll(filepath.Dir(database), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(database, make([]byte, 16384), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := newTruth(c, Identity{Node: "n1", Host: "host1"}, netip.Addr{}, 0, &eventstest.Heard{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- made.run(ctx, made.backend) }()
	guard := time.After(time.Minute)
	for {
		_, err := made.backend.Get(t.Context(), store.MetaKey())
		if errors.Is(err, store.ErrUnavailable) && errors.Is(err, embedded.ErrDamaged) {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("run: %v, want that it goes on", err)
		case <-guard:
			t.Fatalf("Get: %v, want ErrDamaged", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
