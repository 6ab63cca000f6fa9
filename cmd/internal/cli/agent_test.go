package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPluginWithoutStoreWaitsForDocker: from the command on, also where the
// settings cannot be read at all.
func TestPluginWithoutStoreWaitsForDocker(t *testing.T) {
	config := filepath.Join(t.TempDir(), "empty.toml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, more := range map[string][]string{
		"gvlan: --swarm without --etcd-endpoints or --join": nil,
		`gvlan: --gossip-port: "none" is no port`:           {"--gossip-port", "none"},
	} {
		ctx, end := context.WithCancel(t.Context())
		printed, stderr := io.Pipe()
		root := newRoot("v1", nil)
		root.SetArgs(append([]string{"agent", "--swarm", "--config", config, "--data-dir", t.TempDir()}, more...))
		root.SetErr(stderr)
		ended := make(chan error, 1)
		go func() { ended <- root.ExecuteContext(ctx); stderr.Close() }()
		line, _ := bufio.NewReader(printed).ReadString('\n')
		end()
		if err := <-ended; !strings.HasPrefix(line, want) {
			t.Errorf("printed %q and ended with %v, want %q while it waits", line, err, want)
		}
	}
}
