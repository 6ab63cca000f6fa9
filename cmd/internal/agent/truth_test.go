package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/embedded"
	"gvlan/cmd/internal/config"
)

func TestTokenOfAnotherCluster(t *testing.T) {
	address := freeAddress(t)
	host := newListening(t, address)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- host.run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-host.server.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	if err := checkJoin(t.Context(), address, joinWith(t, host.server.Token())); err != nil {
		t.Fatalf("the right token is refused: %v", err)
	}
	err := checkJoin(t.Context(), address, joinWith(t, authority.NewToken()))
	if want := "--token is not the one " + address + " printed"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error is %v, want one that begins with %q", err, want)
	}
}

// 192.0.2.0/24 is nobody's (RFC 5737).
func TestListenElsewhere(t *testing.T) {
	err := newListening(t, "192.0.2.1:2379").run(t.Context())
	want := "--etcd-listen 192.0.2.1:2379: this host does not have that address: give one of its own, or 0.0.0.0:2379 for all of them: "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("error is %v, want one that begins with %q and wraps its cause", err, want)
	}
}

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

// TestJoinLines: what is printed is accepted as it is.
func TestJoinLines(t *testing.T) {
	for name, words := range map[string]string{
		"with TLS":    "--etcd-listen 10.0.0.1:2379",
		"without TLS": "--etcd-listen 10.0.0.1:2379 --etcd-insecure",
	} {
		t.Run(name, func(t *testing.T) {
			line := joinLine(settingsFrom(t, strings.Fields(words)...).Config, netip.Addr{}, goodJoinToken)
			other := settingsFrom(t, strings.Fields(strings.TrimPrefix(line, "gvlan agent "))...)
			if err := other.Check(); err != nil {
				t.Fatalf("the line %q is refused: %v", line, err)
			}
			made, err := newTruth(other.Config, Identity{Node: "n2"}, netip.Addr{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatalf("the line %q leads nowhere: %v", line, err)
			}
			if err := made.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// goodJoinToken has the form of a token.
const goodJoinToken = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

// newListening prepares the etcd of an agent that others join at address.
func newListening(t *testing.T, address string) *truth {
	t.Helper()
	c := config.Config{DataDir: t.TempDir()}
	c.Etcd.Listen, c.Etcd.Prefix = address, "/gvlan/v1"
	made, err := newTruth(c, Identity{Node: "n1", Host: "host1"}, netip.Addr{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	})
	return made
}

// freeAddress is a loopback address nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestTokenOfAHostThatIsAway(t *testing.T) {
	if err := checkJoin(t.Context(), freeAddress(t), joinWith(t, goodJoinToken)); err != nil {
		t.Errorf("a host that does not answer says nothing about the token: %v", err)
	}
}

func joinWith(t *testing.T, token string) *tls.Config {
	t.Helper()
	client, err := joinTLS(token, "node")
	if err != nil {
		t.Fatal(err)
	}
	return client
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
	made, err := newTruth(c, Identity{Node: "n1", Host: "host1"}, netip.Addr{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- made.run(ctx) }()
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
