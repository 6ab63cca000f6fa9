package embedded_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
)

// A learner alone is left, and a voter: each is a cluster of one voter after,
// with what it had and at a revision that nobody has seen; others join it.
func TestRenew(t *testing.T) {
	t.Parallel()
	g := found(t)
	put(t, g.client, "/k")
	g.learner(t, "b")
	item, err := g.client.Get(t.Context(), "/k")
	if err != nil {
		t.Fatal(err)
	}
	old := g.members
	for _, m := range old {
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range old {
		c := m.config
		t.Run(c.Name, func(t *testing.T) {
			if _, err := embedded.Renew(c.Dir, c.Name, m.PeerURL(), 1, discard); err != nil {
				t.Fatal(err)
			}
			c.Others = nil
			server := start(t, c).ready(t)
			if s := server.Standing(); s.Learner || s.Leader != s.ID || s.ID == m.id {
				t.Errorf("it stands as %+v, want another than %x, a leader", s, m.id)
			}
			renewed := &group{of: g.of, members: []*member{{running: server, config: c}}}
			renewed.connect(t)
			if all, err := renewed.membership.Members(t.Context()); err != nil || len(all) != 1 || all[0].PeerURL != m.PeerURL() {
				t.Errorf("Members: %+v, %v; want one, at %s", all, err, m.PeerURL())
			}
			kept, err := renewed.client.Get(t.Context(), "/k")
			if err != nil || kept.Modified != item.Modified {
				t.Fatalf("Get: %+v, %v; want revision %d", kept, err, item.Modified)
			}
			put(t, renewed.client, "/new")
			made, err := renewed.client.Get(t.Context(), "/new")
			if err != nil || made.Modified < item.Modified+1e9 {
				t.Errorf("Get: %+v, %v; want a revision far beyond %d", made, err, item.Modified)
			}
			for _, err := range renewed.client.Watch(t.Context(), store.Prefix("/"), item.Modified) {
				if !errors.Is(err, store.ErrCompacted) {
					t.Errorf("Watch from before: %v, want ErrCompacted", err)
				}
				break
			}
			renewed.learner(t, "c")
		})
	}
}

// Nothing to renew, and what runs, is left alone.
func TestRenewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := embedded.Renew(t.TempDir(), "a", "http://127.0.0.1:2380", 1, discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Renew without data: %v, want ErrNotExist", err)
	}
	dir := t.TempDir()
	server := start(t, embedded.Config{Dir: dir}).ready(t)
	if _, err := embedded.Renew(dir, "a", server.PeerURL(), 1, discard); err == nil {
		t.Error("Renew of a server that runs: no error")
	}
	put(t, client(t, etcd.Config{Endpoints: []string{server.Endpoint()}}), "/k")
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "member", "snap", "db"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Renew(dir, "a", server.PeerURL(), 1, discard); !errors.Is(err, embedded.ErrDamaged) {
		t.Errorf("Renew of a damaged database: %v, want ErrDamaged", err)
	}
}

// The process ends at each step of Renew: the server runs with the old data
// or with the new.
func TestRenewInterrupted(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	server := start(t, embedded.Config{Dir: from}).ready(t)
	put(t, client(t, etcd.Config{Endpoints: []string{server.Endpoint()}}), "/k")
	before := server.Standing().ID
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	renewed := t.TempDir()
	copyMember(t, from, renewed, "member")
	if _, err := embedded.Renew(renewed, "gvlan", server.PeerURL(), 1, discard); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		old, made, kept string // folders that hold the old member and the new one; "" for none
		isNew           bool
	}{
		"while it was made":   {"member", "building/member", "", false},
		"when it was whole":   {"member", "member.new", "", true},
		"when old ones lie":   {"member", "member.new", "member.old", true},
		"between the renames": {"member.old", "member.new", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			copyMember(t, from, dir, c.old)
			copyMember(t, renewed, dir, c.made)
			if c.kept != "" {
				copyMember(t, from, dir, c.kept)
			}
			server := start(t, embedded.Config{Dir: dir}).ready(t)
			if _, err := client(t, etcd.Config{Endpoints: []string{server.Endpoint()}}).Get(t.Context(), "/k"); err != nil {
				t.Error(err)
			}
			if isNew := server.Standing().ID != before; isNew != c.isNew {
				t.Errorf("it runs with the new data: %v, want %v", isNew, c.isNew)
			}
			for _, left := range []string{"building", "member.new"} {
				if _, err := os.Stat(filepath.Join(dir, left)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is left: %v", left, err)
				}
			}
		})
	}
}

// copyMember copies the member folder of a data directory into another.
func copyMember(t *testing.T, from, to, as string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(to, as), os.DirFS(filepath.Join(from, "member"))); err != nil {
		t.Fatal(err)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, embedded.Config{Dir: dir}).ready(t)
	kv := client(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	put(t, kv, "/saved")
	path := filepath.Join(t.TempDir(), "snapshot")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(etcd.NewMembership(kv).Snapshot(t.Context(), to), to.Close()); err != nil {
		t.Fatal(err)
	}
	put(t, kv, "/after")
	last, err := kv.Get(t.Context(), "/after")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	junk := read(t, path)
	junk[len(junk)/2] ^= 1
	spoilt := path + "-spoilt"
	if err := os.WriteFile(spoilt, junk, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Restore(dir, "gvlan", server.PeerURL(), spoilt, 1, discard); err == nil {
		t.Fatal("Restore of a spoilt snapshot: no error")
	}
	for name, to := range map[string]string{"in place": dir, "elsewhere": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			if _, err := embedded.Restore(to, "gvlan", server.PeerURL(), path, 1, discard); err != nil {
				t.Fatal(err)
			}
			kv := client(t, etcd.Config{Endpoints: []string{start(t, embedded.Config{Dir: to}).ready(t).Endpoint()}})
			if _, err := kv.Get(t.Context(), "/saved"); err != nil {
				t.Error(err)
			}
			if _, err := kv.Get(t.Context(), "/after"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Get of what came after the snapshot: %v, want ErrNotFound", err)
			}
			put(t, kv, "/new")
			if made, err := kv.Get(t.Context(), "/new"); err != nil || made.Modified <= last.Modified {
				t.Errorf("Get: %+v, %v; want a revision beyond %d", made, err, last.Modified)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "member.old", "snap", "db")); err != nil {
		t.Errorf("what was there before: %v", err)
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, embedded.Config{Dir: dir}).ready(t)
	if err := embedded.Discard(dir); err == nil {
		t.Error("Discard of a server that runs: no error")
	}
	put(t, client(t, etcd.Config{Endpoints: []string{server.Endpoint()}}), "/k")
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Renew(dir, "gvlan", server.PeerURL(), 1, discard); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := embedded.Discard(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, left := range []string{"building", "member", "member.new", "member.old"} {
		if _, err := os.Stat(filepath.Join(dir, left)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
}

// A copy of an older life is restored after others have begun: its revisions are
// none that those have had.
func TestRestoreOfAnOlderLife(t *testing.T) {
	t.Parallel()
	dir, name := t.TempDir(), "a"
	server := start(t, embedded.Config{Dir: dir, Name: name}).ready(t)
	local := client(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	put(t, local, "/k")
	path := filepath.Join(t.TempDir(), "copy")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(etcd.NewMembership(local).Snapshot(t.Context(), file), file.Close(), server.stop()); err != nil {
		t.Fatal(err)
	}
	for life := int64(1); life <= 3; life++ {
		from, err := embedded.Restore(dir, name, server.PeerURL(), path, life, discard)
		if err != nil || from < 2 || from > 10 {
			t.Fatalf("life %d from %d, %v", life, from, err)
		}
	}
	if _, err := embedded.Renew(dir, name, server.PeerURL(), 3, discard); err != nil { // once more, as after a crash
		t.Fatal(err)
	}
	again := start(t, embedded.Config{Dir: dir, Name: name}).ready(t)
	local = client(t, etcd.Config{Endpoints: []string{again.Endpoint()}})
	put(t, local, "/new")
	made, err := local.Get(t.Context(), "/new")
	if err != nil || made.Modified < 3e9 || made.Modified >= 4e9 {
		t.Errorf("%+v, %v; want a revision of the third life", made, err)
	}
}
