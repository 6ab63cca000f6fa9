package store_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
)

func TestNewEtcdRefuses(t *testing.T) {
	tlsConfig := clientTLS(t, embedded.NewToken())
	for _, c := range []struct {
		name   string
		config store.EtcdConfig
		want   string // in the error
	}{
		{"no endpoint", store.EtcdConfig{}, "no etcd endpoint"},
		{"no port", store.EtcdConfig{Endpoints: []string{"10.0.0.1"}}, `"10.0.0.1"`},
		{"no host", store.EtcdConfig{Endpoints: []string{":2379"}}, `":2379"`},
		{"a path", store.EtcdConfig{Endpoints: []string{"http://10.0.0.1:2379/v2"}}, "want a host and a port"},
		{"a scheme", store.EtcdConfig{Endpoints: []string{"etcd://10.0.0.1:2379"}}, "want host:port"},
		{"plain with certificates", store.EtcdConfig{Endpoints: []string{"http://10.0.0.1:2379"}, TLS: tlsConfig}, "want https://10.0.0.1:2379"},
		{"a mix", store.EtcdConfig{Endpoints: []string{"http://10.0.0.1:2379", "https://10.0.0.2:2379"}}, "all plain or all TLS"},
		{"user alone", store.EtcdConfig{Endpoints: []string{"10.0.0.1:2379"}, User: "gvlan"}, "password"},
		{"prefix", store.EtcdConfig{Endpoints: []string{"10.0.0.1:2379"}, Prefix: "gvlan"}, `"gvlan"`},
		{"empty prefix", store.EtcdConfig{Endpoints: []string{"10.0.0.1:2379"}, Prefix: "/"}, `"/"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := store.NewEtcd(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("NewEtcd: %v, want an error with %q", err, c.want)
			}
		})
	}
}

// Nobody listens: making the client works, also with a user, and every call
// ends and says why.
func TestEtcdThatIsAway(t *testing.T) {
	t.Parallel()
	for _, config := range []store.EtcdConfig{
		{Endpoints: []string{deadAddress(t)}},
		{Endpoints: []string{deadAddress(t)}, User: "u", Password: "p"},
	} {
		t.Run("user "+config.User, func(t *testing.T) {
			config.Attempt = time.Second
			etcd := connect(t, config)
			if err := put(t.Context(), etcd, "/k"); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("Commit: %v, want ErrUnavailable", err)
			}
			complains(t, etcd, "refused")
		})
	}
}

// A certificate that does not fit is named in gvlan's words, not hidden behind
// a timeout, and its cause is there to be found.
func TestEtcdOfAnotherAuthority(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	serve(t, embedded.Config{Listen: address})
	etcd := connect(t, store.EtcdConfig{Endpoints: []string{address}, TLS: clientTLS(t, embedded.NewToken()), Attempt: time.Second})
	err := complains(t, etcd, "etcd does not answer: its certificate is not signed by the authority this host was given (--etcd-ca, or --token of the agent that serves it): ")
	if _, typed := errors.AsType[x509.UnknownAuthorityError](err); !typed {
		t.Errorf("the error %v does not wrap its cause", err)
	}
}

// complains waits until etcd is found unavailable for a reason: on a busy
// machine an attempt may end before the connection's own complaint is there.
func complains(t *testing.T, etcd *store.Etcd, why string) error {
	t.Helper()
	for range 60 {
		_, err := etcd.Get(t.Context(), "/k")
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
	address := freeAddress(t)
	server := serve(t, embedded.Config{Listen: address})
	tlsConfig := clientTLS(t, server.Token())
	tlsConfig.GetClientCertificate = nil
	etcd := connect(t, store.EtcdConfig{Endpoints: []string{address}, TLS: tlsConfig, Attempt: time.Second})
	if err := put(t.Context(), etcd, "/k"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Commit without a certificate: %v, want ErrUnavailable", err)
	}
	plain := connect(t, store.EtcdConfig{Endpoints: []string{address}, Attempt: time.Second})
	if err := put(t.Context(), plain, "/k"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Commit without TLS: %v, want ErrUnavailable", err)
	}
}

// With etcd's user authentication: the right password works, also after the
// server forgot the login; the wrong one and a foreign prefix are refused
// for good.
func TestEtcdWithUsers(t *testing.T) {
	t.Parallel()
	server := serve(t, embedded.Config{})
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

	etcd := connect(t, store.EtcdConfig{Endpoints: endpoints, Prefix: "/mine", User: "node", Password: "pw"})
	if err := put(ctx, etcd, "/k"); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	root, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Username: "root", Password: "rootpw"})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	must(root.UserChangePassword(ctx, "node", "pw")) // drops its logins
	if err := put(ctx, etcd, "/k"); err != nil {
		t.Fatalf("Commit after the login was dropped: %v", err)
	}
	for name, config := range map[string]store.EtcdConfig{
		"wrong password": {Endpoints: endpoints, Prefix: "/mine", User: "node", Password: "no"},
		"foreign prefix": {Endpoints: endpoints, Prefix: "/other", User: "node", Password: "pw"},
		"no user":        {Endpoints: endpoints, Prefix: "/mine"},
	} {
		err := put(ctx, connect(t, config), "/k")
		if err == nil || errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// A session on a real etcd: opens, is fenced by its successor, leaves.
func TestSessionOnEtcd(t *testing.T) {
	t.Parallel()
	server := serve(t, embedded.Config{})
	id := store.Identity{Node: "a", Install: "one", Boot: "boot"}
	config := store.EtcdConfig{Endpoints: []string{server.Endpoint()}}
	run := func(s *store.Session) (stop func() error) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.Opened()
		return func() error { cancel(); return <-done }
	}
	p := &past{}
	first := store.NewSession(connect(t, config), id, p, discard)
	stopFirst := run(first)
	if err := put(t.Context(), first, "/k"); err != nil {
		t.Fatal(err)
	}
	second := store.NewSession(connect(t, config), id, p, discard)
	stopSecond := run(second)
	if err := put(t.Context(), first, "/k"); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("Commit of the first: %v, want ErrFenced", err)
	}
	if err := stopFirst(); err != nil && !errors.Is(err, store.ErrFenced) {
		t.Fatalf("Run of the first: %v", err)
	}
	if err := put(t.Context(), second, "/k"); err != nil {
		t.Fatal(err)
	}
	if _, ok := live(t, second); !ok {
		t.Fatal("the first took the second's /live away")
	}
	if err := stopSecond(); err != nil {
		t.Fatal(err)
	}
	if _, ok := live(t, connect(t, config)); ok {
		t.Fatal("live is still there after a clean leave")
	}
}

// The data directory of a real etcd is lost and made anew behind the same
// address, while a session runs that writes nothing.
func TestSessionOutlivesALostEtcd(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	run := func() (stop func()) {
		_, stop = serveUntil(t, embedded.Config{Dir: t.TempDir(), Listen: address, Insecure: true})
		return stop
	}
	stop := run()
	p := &past{}
	etcd := connect(t, store.EtcdConfig{Endpoints: []string{address}})
	s := store.NewSession(etcd, store.Identity{Node: "a", Install: "one"}, p, discard)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Opened()
	known := s.Cluster()
	stop()
	defer run()()
	guard := time.After(2 * time.Minute)
	for !errors.Is(s.Trusted(), store.ErrSuspect) || s.Cluster() == known {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-guard:
			t.Fatalf("Trusted: %v, cluster %s; want ErrSuspect and another than %s", s.Trusted(), s.Cluster(), known)
		}
	}
	if err := s.OpenGate(ctx); err != nil {
		t.Fatalf("OpenGate: %v", err)
	}
	if err := s.Accept(ctx); err != nil || s.Trusted() != nil {
		t.Fatalf("Accept: %v, then Trusted: %v", err, s.Trusted())
	}
	if known, _ := p.LoadPast(); known.Cluster != s.Cluster() {
		t.Fatalf("the past knows cluster %s, want %s", known.Cluster, s.Cluster())
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("Run: %v", err)
	}
}

// What keeps etcd from answering is said in words that help who reads them,
// and in nothing of gRPC's, by a request and by a session.
func TestEtcdThatIsAwayInPlainWords(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	why := "etcd does not answer: dial tcp " + address + ": connect: connection refused"
	etcd := connect(t, store.EtcdConfig{Endpoints: []string{address}, Attempt: time.Second})
	if err := complains(t, etcd, why); strings.Contains(err.Error(), "desc =") || strings.Contains(err.Error(), "rpc error") {
		t.Errorf("%v speaks of gRPC", err)
	}
	s := store.NewSession(etcd, store.Identity{Node: "a", Install: "one"}, &past{}, discard)
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
	broken := connect(t, store.EtcdConfig{Endpoints: []string{address}, Broken: func() error { return errors.New("its data is damaged") }})
	if _, err := broken.Get(t.Context(), "/k"); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "etcd does not answer: its data is damaged") {
		t.Errorf("Get: %v, want that the data is damaged", err)
	}
}
