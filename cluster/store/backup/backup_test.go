package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/backup"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

var discard = slog.New(slog.DiscardHandler)

var about = backup.About{Cluster: "the-cluster", Node: "h1", Gvlan: "v1", Time: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}

// source is a real store with a key, and the revision that has it.
func source(t *testing.T) (*etcd.Membership, store.Revision) {
	t.Helper()
	client := run(t, t.TempDir())
	res, err := client.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put("/k", []byte(`"v"`))}})
	if err != nil {
		t.Fatal(err)
	}
	return etcd.NewMembership(client), res.Revision
}

// run runs an etcd with that data and returns a client of it.
func run(t *testing.T, dir string) *etcd.Client {
	t.Helper()
	server, err := embedded.New(embedded.Config{Dir: dir, Name: "h1", Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client, err := etcd.New(etcd.Config{Endpoints: []string{server.Endpoint()}, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	<-server.Ready()
	return client
}

// What was written is read again, and restores.
func TestWriteAndRead(t *testing.T) {
	from, revision := source(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "b.tar")
	made, err := backup.Write(t.Context(), from, about, path)
	if err != nil {
		t.Fatal(err)
	}
	if made.Revision != int64(revision) || made.Cluster != "the-cluster" || made.Node != "h1" || made.Gvlan != "v1" || !made.Time.Equal(about.Time) || made.Size == 0 {
		t.Errorf("%+v, want revision %d", made, revision)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("beside it lie %v, %v", left, err)
	}
	if got, err := backup.Verify(path); err != nil || got != made {
		t.Errorf("it says %+v, %v; want %+v", got, err, made)
	}
	taken := filepath.Join(dir, "snapshot")
	if got, err := backup.Extract(path, taken); err != nil || got != made {
		t.Fatalf("Extract: %+v, %v", got, err)
	}
	data := t.TempDir()
	if _, err := embedded.Restore(data, "h1", "http://127.0.0.1:2380", taken, 1, discard); err != nil {
		t.Fatal(err)
	}
	if it, err := run(t, data).Get(t.Context(), "/k"); err != nil || it.Modified != revision {
		t.Errorf("restored: %+v, %v; want revision %d", it, err, revision)
	}
}

func TestNeverOverAFile(t *testing.T) {
	from, _ := source(t)
	path := filepath.Join(t.TempDir(), "b.tar")
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	late := &atTheEnd{from, nil}
	_, err := backup.Write(t.Context(), late, about, path)
	if !errors.Is(err, backup.ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
	// One that comes while the copy is made.
	other := filepath.Join(filepath.Dir(path), "c.tar")
	late.do = func() error { return os.WriteFile(other, []byte("mine"), 0o644) }
	if _, err = backup.Write(t.Context(), late, about, other); !errors.Is(err, backup.ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
	for _, path := range []string{path, other} {
		if raw, err := os.ReadFile(path); err != nil || string(raw) != "mine" {
			t.Errorf("%s has %d bytes now (%v)", path, len(raw), err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What arrives is kept when it is a whole backup, and else leaves nothing.
func TestReceive(t *testing.T) {
	from, _ := source(t)
	dir := t.TempDir()
	sent := filepath.Join(dir, "sent.tar")
	made, err := backup.Write(t.Context(), from, about, sent)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(sent)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "b.tar")
	receive := func(raw []byte, then error) error {
		return backup.Receive(t.Context(), path, func(w io.Writer) error {
			_, err := w.Write(raw)
			return errors.Join(err, then)
		})
	}
	if err := receive(raw[:len(raw)/2], nil); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("half of it: %v, want ErrDamaged", err)
	}
	if err := receive(raw, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("an end that failed: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := receive(raw, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := backup.Verify(path); err != nil || got != made {
		t.Errorf("it says %+v, %v; want %+v", got, err, made)
	}
	if err := receive(raw, nil); !errors.Is(err, backup.ErrExists) {
		t.Errorf("the second: %v, want ErrExists", err)
	}
}

// atTheEnd does something when the copy is complete.
type atTheEnd struct {
	backup.Source
	do func() error
}

func (a *atTheEnd) Snapshot(ctx context.Context, w io.Writer) error {
	if err := a.Source.Snapshot(ctx, w); err != nil || a.do == nil {
		return err
	}
	return a.do()
}

// A copy that fails leaves nothing.
func TestFailedCopy(t *testing.T) {
	from, _ := source(t)
	dir, broken := t.TempDir(), errors.New("broken")
	_, err := backup.Write(t.Context(), &atTheEnd{from, func() error { return broken }}, about, filepath.Join(dir, "b.tar"))
	left, readErr := os.ReadDir(dir)
	if !errors.Is(err, broken) || readErr != nil || len(left) != 0 {
		t.Errorf("%v, left behind: %v (%v)", err, left, readErr)
	}
}

func TestDamage(t *testing.T) {
	from, _ := source(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "b.tar")
	if _, err := backup.Write(t.Context(), from, about, path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(raw)
	flipped[len(flipped)/2] ^= 1
	var other bytes.Buffer
	w := tar.NewWriter(&other)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Size: 1, Mode: 0o600}), w.Close()); err == nil {
		t.Fatal("want a short archive")
	}
	for name, tt := range map[string]struct {
		content []byte
		want    error
	}{
		"a bit flipped":       {flipped, backup.ErrDamaged},
		"cut off":             {raw[:len(raw)/2], backup.ErrDamaged},
		"cut after manifest":  {raw[:3*512], backup.ErrDamaged},
		"empty":               {nil, backup.ErrNoBackup},
		"text":                {bytes.Repeat([]byte("text "), 1000), backup.ErrNoBackup},
		"another archive":     {other.Bytes(), backup.ErrNoBackup},
		"a newer form":        {bytes.Replace(raw, []byte(`"version": 1`), []byte(`"version": 2`), 1), backup.ErrNoBackup},
		"a manifest no JSON":  {bytes.Replace(raw, []byte(`"version": 1`), []byte(`"version"; 1`), 1), backup.ErrDamaged},
		"another one's sha":   {bytes.Replace(raw, []byte(`"sha256": "`), []byte(`"sha256": "x`), 1), backup.ErrDamaged},
		"of a wrong size too": {bytes.Replace(raw, []byte(`"size": 2`), []byte(`"size": 3`), 1), backup.ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			bad, taken := filepath.Join(t.TempDir(), "bad"), filepath.Join(t.TempDir(), "taken")
			if err := os.WriteFile(bad, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := backup.Verify(bad); !errors.Is(err, tt.want) {
				t.Errorf("Verify: %v, want %v", err, tt.want)
			}
			_, err := backup.Extract(bad, taken)
			if _, statErr := os.Stat(taken); !errors.Is(err, tt.want) || !errors.Is(statErr, os.ErrNotExist) {
				t.Errorf("Extract: %v, want %v and no file (%v)", err, tt.want, statErr)
			}
		})
	}
	if _, err := backup.Verify(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Verify of nothing: %v", err)
	}
}

// TestHoles: a small file that says it is a large one fills no disk, whatever its
// manifest says.
func TestHoles(t *testing.T) {
	dir := t.TempDir()
	const size = 32 << 20
	zeros, sum := filepath.Join(dir, "snapshot.db"), sha256.New()
	if err := errors.Join(os.WriteFile(zeros, nil, 0o600), os.Truncate(zeros, size)); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(zeros)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.Copy(sum, file); err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`{"version": 1, "cluster": "c", "sha256": "%x", "size": %d}`, sum.Sum(nil), size)
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	path, taken := filepath.Join(dir, "b.tar"), filepath.Join(dir, "taken")
	if out, err := exec.Command("tar", "-C", dir, "-S", "--format=gnu", "-cf", path, "manifest.json", "snapshot.db").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if about, err := os.Stat(path); err != nil || about.Size() > 1<<20 {
		t.Fatalf("the file is not small (%v): the test sees nothing", err)
	}
	if _, err := backup.Extract(path, taken); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

// FuzzRead: whatever a file holds, it is read to its end or is an error of its kind.
func FuzzRead(f *testing.F) {
	var whole bytes.Buffer
	w := tar.NewWriter(&whole)
	snapshot := []byte("not looked into")
	manifest := fmt.Sprintf(`{"version": 1, "cluster": "c", "sha256": "%x", "size": %d}`, sha256.Sum256(snapshot), len(snapshot))
	for _, one := range []struct {
		name string
		text []byte
	}{{"manifest.json", []byte(manifest)}, {"snapshot.db", snapshot}} {
		if err := w.WriteHeader(&tar.Header{Name: one.name, Size: int64(len(one.text)), Mode: 0o600}); err != nil {
			f.Fatal(err)
		}
		_, _ = w.Write(one.text)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:1024])
	f.Add([]byte("text"))
	path := filepath.Join(f.TempDir(), "b.tar")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := backup.Verify(path); err == nil && (m.Size > int64(len(raw)) || m.Format != backup.Format) {
			t.Errorf("%d bytes are a backup of %d", len(raw), m.Size)
		}
	})
}
