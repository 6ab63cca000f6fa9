//go:build !race

// With the race detector each login takes seconds: etcd hashes the password.

package etcd_test

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

// roleDocument says how an operator makes the user that gvlan needs.
const roleDocument = "../../../deploy/etcd-role.md"

// defaultPrefix is that of --etcd-prefix.
const defaultPrefix = "/gvlan/v1"

// A user as deploy/etcd-role.md has it made can do all that gvlan does in an
// etcd with authentication, and nothing beyond its prefix.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	endpoints := []string{server.Endpoint()}
	admin, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, command := range [][]string{
		{"user", "add", "root", "--new-user-password", "rootpw"},
		{"role", "add", "root"},
		{"user", "grant-role", "root", "root"},
	} {
		etcdctl(t, admin, command)
	}
	for _, command := range documented(t) {
		etcdctl(t, admin, command)
	}
	config := etcd.Config{Endpoints: endpoints, Prefix: defaultPrefix, User: "gvlan", Password: "PASSWORD"}

	root, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Username: "root", Password: "rootpw"})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	t.Run("conformance", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Subject { return etcdtest.OpenWith(t, config, root) }) // compacting is the operator's
	})
	t.Run("session", func(t *testing.T) { sessionOf(t, config) })
	t.Run("beyond", func(t *testing.T) {
		client := etcdtest.Connect(t, config)
		for _, prefix := range []string{"/gvlan/v10", "/gvlan", "/registry"} {
			other := config
			other.Prefix = prefix
			if err := storetest.Put(t.Context(), etcdtest.Connect(t, other), "/k"); err == nil || errors.Is(err, store.ErrUnavailable) {
				t.Errorf("writing below %s: %v, want a refusal", prefix, err)
			}
		}
		if _, err := etcd.NewMembership(client).AddLearner(t.Context(), "http://127.0.0.1:1"); err == nil {
			t.Error("it changes the members of the etcd")
		}
		if err := etcd.NewMembership(client).Defragment(t.Context(), server.Endpoint()); err == nil {
			t.Error("it defragments")
		}
	})
}

// sessionOf opens a session, which holds leases, writes, follows and leaves.
func sessionOf(t *testing.T, config etcd.Config) {
	s := session.New(etcdtest.Connect(t, config), session.Identity{Node: "a", Install: "one", Boot: "boot"}, &storetest.Past{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Opened():
	case <-time.After(20 * time.Second):
		t.Fatalf("no session opens: %v", s.Trusted())
	}
	lease, err := s.Grant(ctx, 60)
	if err != nil {
		t.Fatalf("Grant: %v", err)
	}
	heard := make(chan struct{})
	following, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_ = store.Follow(following, s, store.Prefix("/leases/"), func(c store.Change) {
			if len(c.Items)+len(c.Events) > 0 {
				close(heard)
				stop()
			}
		})
	}()
	op := store.Put("/leases/x", []byte("{}"))
	op.Lease = lease
	if _, err := s.Commit(ctx, store.Txn{Then: []store.Op{op}}); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	select {
	case <-heard:
	case <-time.After(20 * time.Second):
		t.Error("what was written is not heard of")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := etcdtest.Connect(t, config).Get(t.Context(), store.LiveKey("a")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after a clean leave its live record: %v, want it revoked", err)
	}
}

// documented are the commands of the document, without the program's name.
func documented(t *testing.T) (commands [][]string) {
	t.Helper()
	file, err := os.Open(roleDocument)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if words := strings.Fields(lines.Text()); strings.HasPrefix(lines.Text(), "    etcdctl ") {
			commands = append(commands, words[1:])
		}
	}
	if len(commands) != 5 {
		t.Fatalf("%s has %d commands, want 5", roleDocument, len(commands))
	}
	return commands
}

// etcdctl does what the program of that name does for such a command.
func etcdctl(t *testing.T, admin *clientv3.Client, words []string) {
	t.Helper()
	ctx, err := t.Context(), error(nil)
	prefix := slices.Contains(words, "--prefix=true")
	words = slices.DeleteFunc(slices.Clone(words), func(word string) bool { return word == "--prefix=true" || word == "--new-user-password" })
	switch args := words[2:]; strings.Join(words[:2], " ") {
	case "user add":
		_, err = admin.UserAdd(ctx, args[0], args[1])
	case "user grant-role":
		_, err = admin.UserGrantRole(ctx, args[0], args[1])
	case "role add":
		_, err = admin.RoleAdd(ctx, args[0])
	case "role grant-permission":
		end := ""
		if prefix {
			end = clientv3.GetPrefixRangeEnd(args[2])
		}
		kind, wrong := clientv3.StrToPermissionType(args[1])
		if wrong != nil {
			t.Fatal(wrong)
		}
		_, err = admin.RoleGrantPermission(ctx, args[0], args[2], end, kind)
	case "auth enable":
		_, err = admin.AuthEnable(ctx)
	default:
		t.Fatalf("unknown command %q", words)
	}
	if err != nil {
		t.Fatalf("etcdctl %s: %v", strings.Join(words, " "), err)
	}
}
