package hosting

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/join"
)

// TestLeave: a host that left its cluster is solo at the next start, has neither
// keys nor data of it, and says that it moved until that is settled. What is still
// heard of the cluster's members brings none of it back.
func TestLeave(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		t.Helper()
		s, err := Open(Config{Dir: dir, Node: "h1", Host: "h1", Install: "i1", Address: netip.MustParseAddr("192.0.2.1"), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	solo := open()
	if solo.Standing() != Solo || solo.Moved() {
		t.Fatalf("a host begins as %s, moved %v", solo.Standing(), solo.Moved())
	}
	earlier := filepath.Join(dir, memberFolder, "token")
	if err := os.WriteFile(earlier, []byte("the authority of an earlier gvlan"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := solo.Begin(""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(earlier); err == nil {
		t.Error("the key of an earlier gvlan is left")
	}
	old, aside := filepath.Join(dir, memberFolder, "member"), filepath.Join(dir, memberFolder+asideSuffix)
	if err := errors.Join(os.MkdirAll(old, 0o700), os.MkdirAll(aside, 0o700)); err != nil {
		t.Fatal(err)
	}
	member := open()
	if member.Standing() != Cluster {
		t.Fatalf("after Begin the host is %s", member.Standing())
	}
	if err := member.Leave(); err != nil {
		t.Fatal(err)
	}
	client, err := etcd.New(etcd.Config{Endpoints: []string{"127.0.0.1:1"}, Log: member.log})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	member.doors.take([]join.Place{{Node: "h2", Client: "192.0.2.2:2379"}}, client)
	left := open()
	if left.Standing() != Solo || !left.Moved() {
		t.Fatalf("after Leave the host is %s, moved %v", left.Standing(), left.Moved())
	}
	for _, data := range []string{old, aside} {
		if _, err := os.Stat(data); err == nil {
			t.Errorf("the cluster's data is left in %s", data)
		}
	}
	if keys, err := os.ReadDir(filepath.Join(dir, identityFolder)); len(keys) > 0 || err != nil {
		t.Errorf("of the cluster's keys %v are left (%v)", keys, err)
	}
	if err := left.Settle(); err != nil {
		t.Fatal(err)
	}
	if again := open(); again.Standing() != Solo || again.Moved() {
		t.Errorf("then the host is %s, moved %v", again.Standing(), again.Moved())
	}
}

// TestLeftSettings: what a host's settings say is not followed again once it left,
// until they say something else.
func TestLeftSettings(t *testing.T) {
	const listen, peer = "192.0.2.1:2379", "192.0.2.2:2379"
	token := "one"
	c := Config{
		Dir: t.TempDir(), Node: "h1", Host: "h1", Install: "i1", Address: netip.MustParseAddr("192.0.2.1"), Listen: listen, Now: time.Now,
		Token: func() (string, error) { return token, nil }, Log: slog.New(slog.DiscardHandler),
	}
	stands := func(want Standing) *Store {
		t.Helper()
		s, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if s.Standing() != want {
			t.Fatalf("this host is %s, want %s", s.Standing(), want)
		}
		return s
	}
	leave := func() {
		t.Helper()
		if err := stands(Cluster).Leave(); err != nil {
			t.Fatal(err)
		}
		if err := stands(Solo).Settle(); err != nil {
			t.Fatal(err)
		}
		stands(Solo)
	}
	leave()
	if err := stands(Solo).Begin(""); err != nil { // gvlan init
		t.Fatal(err)
	}
	c.Join = peer
	leave()
	c.Join = ""
	stands(Cluster)
	c.Join = peer
	leave()
	token = "two"
	stands(Joining)
	c.Token = func() (string, error) { return "", os.ErrNotExist }
	stands(Solo)
	c.Listen = ""
	stands(Joining)
	c.Networks = 1
	stands(Solo)
	c.Listen = listen // which is where a host serves that joins
	stands(Solo)
	c.Client, c.Listen = true, "" // solo it would give the addresses of others
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	plugin := stands(Joining)
	if err := plugin.Run(ctx, nil, nil); err != nil || !strings.Contains(plugin.Trouble().Error(), "--import") {
		t.Errorf("a managed plugin with networks of its own: %v, trouble %v", err, plugin.Trouble())
	}
}
