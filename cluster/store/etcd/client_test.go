package etcd_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
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

func TestNewEtcdRefuses(t *testing.T) {
	tlsConfig := etcdtest.NewAuthority(t).Client(t, "node")
	for _, c := range []struct {
		name   string
		config etcd.Config
		want   string // in the error
	}{
		{"no endpoint", etcd.Config{}, "no etcd endpoint"},
		{"no port", etcd.Config{Endpoints: []string{"10.0.0.1"}}, `"10.0.0.1"`},
		{"no host", etcd.Config{Endpoints: []string{":2379"}}, `":2379"`},
		{"a path", etcd.Config{Endpoints: []string{"http://10.0.0.1:2379/v2"}}, "want a host and a port"},
		{"a scheme", etcd.Config{Endpoints: []string{"etcd://10.0.0.1:2379"}}, "want host:port"},
		{"plain with certificates", etcd.Config{Endpoints: []string{"http://10.0.0.1:2379"}, TLS: tlsConfig}, "want https://10.0.0.1:2379"},
		{"a mix", etcd.Config{Endpoints: []string{"http://10.0.0.1:2379", "https://10.0.0.2:2379"}}, "all plain or all TLS"},
		{"user alone", etcd.Config{Endpoints: []string{"10.0.0.1:2379"}, User: "gvlan"}, "password"},
		{"prefix", etcd.Config{Endpoints: []string{"10.0.0.1:2379"}, Prefix: "gvlan"}, `"gvlan"`},
		{"empty prefix", etcd.Config{Endpoints: []string{"10.0.0.1:2379"}, Prefix: "/"}, `"/"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := etcd.New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("NewEtcd: %v, want an error with %q", err, c.want)
			}
		})
	}
}

// Nobody listens: making the client works, also with a user, and every call
// ends and says why.
func TestEtcdThatIsAway(t *testing.T) {
	t.Parallel()
	for _, config := range []etcd.Config{
		{Endpoints: []string{etcdtest.DeadAddress(t)}},
		{Endpoints: []string{etcdtest.DeadAddress(t)}, User: "u", Password: "p"},
	} {
		t.Run("user "+config.User, func(t *testing.T) {
			config.Attempt = time.Second
			client := etcdtest.Connect(t, config)
			if err := storetest.Put(t.Context(), client, "/k"); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("Commit: %v, want ErrUnavailable", err)
			}
			complains(t, client, "refused")
		})
	}
}

// A certificate that does not fit is named in gvlan's words, not hidden behind
// a timeout, and its cause is there to be found.
func TestEtcdOfAnotherAuthority(t *testing.T) {
	t.Parallel()
	of := etcdtest.NewAuthority(t)
	server := of.Member(t, of.Identity(t, "server", true), "server")
	etcdtest.Serve(t, server)
	stranger := etcdtest.NewAuthority(t).Client(t, "node")
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{server.Listen.String()}, TLS: stranger, Attempt: time.Second})
	err := complains(t, client, "etcd does not answer: its certificate is not signed by the authority this host was given (--etcd-ca, or --token of the agent that serves it): ")
	if _, typed := errors.AsType[x509.UnknownAuthorityError](err); !typed {
		t.Errorf("the error %v does not wrap its cause", err)
	}
}

// complains waits until etcd is found unavailable for a reason: on a busy
// machine an attempt may end before the connection's own complaint is there.
func complains(t *testing.T, client *etcd.Client, why string) error {
	t.Helper()
	for range 60 {
		_, err := client.Get(t.Context(), "/k")
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("Get: %v, want ErrUnavailable", err)
		}
		if strings.Contains(err.Error(), why) {
			return err
		}
	}
	t.Fatalf("no error of Get says %q", why)
	return nil
}

// A client without a certificate of the authority is refused.
func TestEtcdWantsAClientCertificate(t *testing.T) {
	t.Parallel()
	of := etcdtest.NewAuthority(t)
	server := of.Member(t, of.Identity(t, "server", true), "server")
	etcdtest.Serve(t, server)
	address := server.Listen.String()
	tlsConfig := of.Client(t, "node")
	tlsConfig.GetClientCertificate = nil
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{address}, TLS: tlsConfig, Attempt: time.Second})
	if err := storetest.Put(t.Context(), client, "/k"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Commit without a certificate: %v, want ErrUnavailable", err)
	}
	plain := etcdtest.Connect(t, etcd.Config{Endpoints: []string{address}, Attempt: time.Second})
	if err := storetest.Put(t.Context(), plain, "/k"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Commit without TLS: %v, want ErrUnavailable", err)
	}
}

// With etcd's user authentication: the right password works, also after the
// server forgot the login; the wrong one and a foreign prefix are refused
// for good.
func TestEtcdWithUsers(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	endpoints := []string{server.Endpoint()}
	admin, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.UserAdd(ctx, "root", "rootpw"))
	must(admin.UserGrantRole(ctx, "root", "root"))
	must(admin.RoleAdd(ctx, "gvlan"))
	must(admin.RoleGrantPermission(ctx, "gvlan", "/mine/", clientv3.GetPrefixRangeEnd("/mine/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(admin.UserAdd(ctx, "node", "pw"))
	must(admin.UserGrantRole(ctx, "node", "gvlan"))
	must(admin.AuthEnable(ctx))

	client := etcdtest.Connect(t, etcd.Config{Endpoints: endpoints, Prefix: "/mine", User: "node", Password: "pw"})
	if err := storetest.Put(ctx, client, "/k"); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	root, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Username: "root", Password: "rootpw"})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	must(root.UserChangePassword(ctx, "node", "pw")) // drops its logins
	if err := storetest.Put(ctx, client, "/k"); err != nil {
		t.Fatalf("Commit after the login was dropped: %v", err)
	}
	for name, config := range map[string]etcd.Config{
		"wrong password": {Endpoints: endpoints, Prefix: "/mine", User: "node", Password: "no"},
		"foreign prefix": {Endpoints: endpoints, Prefix: "/other", User: "node", Password: "pw"},
		"no user":        {Endpoints: endpoints, Prefix: "/mine"},
	} {
		err := storetest.Put(ctx, etcdtest.Connect(t, config), "/k")
		if err == nil || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// What keeps etcd from answering is said in words that help who reads them,
// and in nothing of gRPC's, by a request and by a session.
func TestEtcdThatIsAwayInPlainWords(t *testing.T) {
	t.Parallel()
	address := etcdtest.FreeAddress(t).String()
	why := "etcd does not answer: dial tcp " + address + ": connect: connection refused"
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{address}, Attempt: time.Second})
	if err := complains(t, client, why); strings.Contains(err.Error(), "desc =") || strings.Contains(err.Error(), "rpc error") {
		t.Errorf("%v speaks of gRPC", err)
	}
	s := session.New(client, session.Identity{Node: "a", Install: "one"}, &storetest.Past{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	want := "etcd does not answer: not connected yet: dial tcp " + address + ": connect: connection refused"
	guard := time.After(2 * time.Minute)
	for s.Trusted().Error() != want {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-guard:
			t.Fatalf("Trusted: %v, want %q", s.Trusted(), want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	broken := etcdtest.Connect(t, etcd.Config{Endpoints: []string{address}, Broken: func() error { return errors.New("its data is damaged") }})
	if _, err := broken.Get(t.Context(), "/k"); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "etcd does not answer: its data is damaged") {
		t.Errorf("Get: %v, want that the data is damaged", err)
	}
}

func TestEtcdTellsOfEachReconnect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	client := etcdtest.Connect(t, etcd.Config{Endpoints: []string{etcdtest.Socket(dir)}})
	for range 2 {
		_, stop := etcdtest.ServeUntil(t, embedded.Config{Dir: dir})
		if _, err := client.Get(t.Context(), "/none"); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		select {
		case <-client.Reconnected():
		case <-time.After(time.Minute):
			t.Fatal("a connection was made, and not told of")
		}
		stop()
	}
}
