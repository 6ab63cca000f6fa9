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
		args := append([]string{"agent", "--swarm", "--config", config, "--data-dir", t.TempDir()}, more...)
		ended := make(chan int, 1)
		go func() { ended <- Run(ctx, args, io.Discard, stderr, "v1", nil); stderr.Close() }()
		line, _ := bufio.NewReader(printed).ReadString('\n')
		end()
		if status := <-ended; !strings.HasPrefix(line, want) || status == 0 {
			t.Errorf("printed %q and ended with %d, want %q while it waits", line, status, want)
		}
	}
}
