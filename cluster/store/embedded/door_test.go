package embedded_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

// Whatever the data directory is called and whoever could enter it before:
// the host's own client finds the server, nobody else does, and no port is
// opened for it.
func TestOwnClientHasTheOnlyDoor(t *testing.T) {
	for name, folder := range map[string]string{
		"plain":       "etcd",
		"107 bytes":   "",
		"longer":      strings.Repeat("long/", 40),
		"odd":         "50% of #1?",
		"open to all": "open",
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			if folder == "" {
				folder = strings.Repeat("x", 107-len(base)-len("//client.sock"))
			}
			dir := filepath.Join(base, folder)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			before := listening(t)
			server := start(t, embedded.Config{Dir: dir}).ready(t)
			put(t, client(t, etcd.Config{Endpoints: []string{server.Endpoint()}}), "/k")
			for path, want := range map[string]os.FileMode{
				dir:                               0o700,
				filepath.Join(dir, "client.sock"): 0o600,
			} {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if mode := info.Mode().Perm(); mode != want {
					t.Errorf("%s has mode %o, want %o", path, mode, want)
				}
			}
			if after := listening(t); after != before {
				t.Errorf("this process listens on %d TCP ports, on %d before the server ran", after, before)
			}
		})
	}
}

// A server that was killed leaves its socket behind.
func TestSocketOfAKilledServer(t *testing.T) {
	dir := t.TempDir()
	left, err := net.Listen("unix", filepath.Join(dir, "client.sock"))
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	server := start(t, embedded.Config{Dir: dir}).ready(t)
	put(t, client(t, etcd.Config{Endpoints: []string{server.Endpoint()}}), "/k")
	at, err := url.Parse(server.Endpoint())
	if err != nil || at.Scheme != "unix" {
		t.Fatalf("endpoint %q (%v), want a unix socket", server.Endpoint(), err)
	}
}

// listening counts the TCP sockets this process listens on.
func listening(t *testing.T) (n int) {
	t.Helper()
	own := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			own[target] = true
		}
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			const state, inode, listen = 3, 9, "0A"
			if len(f) > inode && f[state] == listen && own[fmt.Sprintf("socket:[%s]", f[inode])] {
				n++
			}
		}
	}
	return n
}
