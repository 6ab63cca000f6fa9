package hosting

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/cluster/store/embedded"
)

func TestDiskWarning(t *testing.T) {
	const mega = 1 << 20
	for _, tt := range []struct {
		name       string
		free       int64
		data, runs bool
		want       string
	}{
		{"room", littleRoom, true, true, ""},
		{"little room", littleRoom - mega, true, true, "nearly full, 511 MiB"},
		{"as little, and it runs", embedded.RoomFrom - mega, true, true, "nearly full, 95 MiB"},
		{"too little to start", embedded.RoomFrom - mega, true, false, "is full, 95 MiB"},
		{"none", embedded.FullBelow - mega, true, true, "is full, 31 MiB"},
		{"no member here", 0, false, false, ""},
	} {
		dir := filepath.Join(t.TempDir(), "etcd")
		if tt.data {
			log := filepath.Join(dir, "member", "wal")
			if err := errors.Join(os.MkdirAll(log, 0o700), os.WriteFile(filepath.Join(log, "0.wal"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		s := &seat{dir: dir}
		if tt.runs {
			s.server = &embedded.Server{}
		}
		h := &health{dir: dir, seat: s, space: func(string) (int64, error) { return tt.free, nil }}
		got := strings.Join(h.warnings(func(node string) string { return node }), "")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// text is a log that is looked at while it is written.
type text struct {
	mu  sync.Mutex
	raw bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw.Write(p)
}

func (l *text) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.raw.String(), words)
}

// TestSoloGoesOnAfterAFullDisk: the agent stays, and the store comes back.
func TestSoloGoesOnAfterAFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	var log text
	s := &seat{config: Config{Node: "a", Log: slog.New(slog.NewTextHandler(&log, nil))}, dir: dir, trouble: &trouble{}}
	s.log = s.config.Log
	config := soloConfig(s.config, dir)
	config.Space = func(string) (int64, error) { return 0, nil }
	full, err := embedded.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.runSolo(ctx, full) }()
	for guard := time.Now().Add(time.Minute); !s.leads(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(guard) {
			t.Fatal("no member runs")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := log.count("until there is room"); n != 1 {
		t.Errorf("told %d times that the disk is full, want once", n)
	}
}
