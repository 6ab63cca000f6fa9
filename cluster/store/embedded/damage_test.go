package embedded_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

// etcd waited without end, panicked, or named no file and no way out.
func TestDamagedData(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	server := start(t, embedded.Config{Dir: from}).ready(t)
	kv := client(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	for range 50 {
		put(t, kv, "/k")
	}
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(from, "member", "wal", "*.wal"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("the server has logs %v (%v), want one", logs, err)
	}
	log, database := filepath.Join("member", "wal", filepath.Base(logs[0])), filepath.Join("member", "snap", "db")
	used := len(strings.TrimRight(string(read(t, logs[0])), "\x00"))
	for _, c := range []struct {
		name, file string
		damage     func([]byte) []byte
		want       []string
	}{
		{"log cut to half", log, func(raw []byte) []byte { return raw[:used/2] }, []string{"member/wal", "ends at entry"}},
		{"log cut to its head", log, func(raw []byte) []byte { return raw[:100] }, []string{"member/wal", "ends at entry"}},
		{"log empty", log, func([]byte) []byte { return nil }, []string{"member/wal"}},
		{"log zeroed from the middle", log, func(raw []byte) []byte { clear(raw[used/2:]); return raw }, []string{"member/wal"}},
		{"log with a flipped bit", log, func(raw []byte) []byte {
			raw[used/2+bytes.Index(raw[used/2:], []byte("/k"))] ^= 1 // between records lie bytes that no checksum is of
			return raw
		}, []string{"member/wal"}},
		{"log with a flipped head", log, func(raw []byte) []byte { raw[20] ^= 0xff; return raw }, []string{"member/wal"}},
		{"log missing", log, nil, []string{"member/wal", "missing"}},
		{"database's meta pages", database, func(raw []byte) []byte { clear(raw[:8192]); return raw }, []string{"member/snap/db"}},
		{"database's pages", database, func(raw []byte) []byte {
			for i := 8192; i < len(raw); i++ {
				raw[i] = 0xff
			}
			return raw
		}, []string{"member"}},
		{"database cut", database, func(raw []byte) []byte { return raw[:16384] }, []string{"member/snap/db"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "member"), os.DirFS(filepath.Join(from, "member"))); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, c.file)
			if c.damage == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(path, c.damage(read(t, path)), 0o600); err != nil {
				t.Fatal(err)
			}
			err := start(t, embedded.Config{Dir: dir}).fails(t)
			if !errors.Is(err, embedded.ErrDamaged) {
				t.Fatalf("Run: %v, want ErrDamaged", err)
			}
			for _, want := range append(c.want, filepath.Join(dir, "member"), "gvlan recover") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Run: %v, want %q in it", err, want)
				}
			}
			// The way out.
			if err := os.RemoveAll(filepath.Join(dir, "member")); err != nil {
				t.Fatal(err)
			}
			start(t, embedded.Config{Dir: dir}).ready(t)
		})
	}
	start(t, embedded.Config{Dir: from}).ready(t) // whole, it is no damage
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
