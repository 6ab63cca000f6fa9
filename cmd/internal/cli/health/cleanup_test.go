package health

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/datadir"
)

// TestCleanupWaitsForTheAgentsEnd: beside an agent nothing is touched, whether it is
// known by its folder or by a socket.
func TestCleanupWaitsForTheAgentsEnd(t *testing.T) {
	at := t.TempDir()
	c := config.Config{DataDir: filepath.Join(at, "data"), PluginSocketDir: at, StatusSocket: filepath.Join(at, "status.sock"), DriverName: "gvlan-test"}
	refused := func(why string) {
		t.Helper()
		var out strings.Builder
		if err := cleanUp(t.Context(), c, &out); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "systemctl stop gvlan first") {
			t.Errorf("error %v, printed %q; want that it says %q, and what stops the agent", err, out.String(), why)
		}
	}
	dir, err := datadir.Open(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	refused("in use by another gvlan agent")
	dir.Close()
	for _, socket := range []string{c.StatusSocket, filepath.Join(at, "gvlan-test.sock")} {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		refused(socket)
		l.Close()
	}
}

// TestDeadSocketsGo: what a killed agent left, and nothing that is no socket.
func TestDeadSocketsGo(t *testing.T) {
	at := t.TempDir()
	dead, file := filepath.Join(at, "dead.sock"), filepath.Join(at, "file.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{dead: true, file: false, filepath.Join(at, "none.sock"): false} {
		if removed, err := removeSocket(path); removed != want || err != nil {
			t.Errorf("%s removed: %t, %v; want %t", path, removed, err, want)
		}
	}
}
