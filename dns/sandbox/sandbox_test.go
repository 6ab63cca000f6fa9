package sandbox_test

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"gvlan/dns/dnstest"
	"gvlan/dns/sandbox"
	"gvlan/dns/zone"
	"gvlan/driver/netns"
)

// enterPath is Enter for fake sandboxes.
func enterPath(sandbox string, f func() error) error { return netns.Do(sandbox, f) }

// running is a Sandboxes whose Run runs.
type running struct {
	*sandbox.Resolvers
	stop func()
}

func runSandboxes(t testing.TB, zone *zone.Zone, enter sandbox.Enter) *running {
	t.Helper()
	s := sandbox.New(zone, enter, slog.New(slog.NewTextHandler(t.Output(), nil)))
	r := start(t, s)
	return r
}

func start(t testing.TB, s *sandbox.Resolvers) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	dnstest.Eventually(t, "run", s.Running)
	stopped := false
	r := &running{Resolvers: s, stop: func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	}}
	t.Cleanup(r.stop)
	return r
}

var errNotYet = errors.New("no namespace yet")

func (r *running) attach(t testing.TB, box *dnstest.Sandbox, endpoint, network string) {
	t.Helper()
	if err := r.Attach(box.Path, endpoint, "uuid-"+network); err != nil {
		t.Fatal(err)
	}
}

func TestSandboxAnswers(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t).WithDocker(nil)
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, box, "e1", "lan1")
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			for _, tt := range []struct {
				name  string
				qtype uint16
				want  string
			}{
				{"web", miekg.TypeA, "10.9.0.10"},
				{"web", miekg.TypeAAAA, "fd09::10"},
				{"db_main.lan1", miekg.TypeA, "10.9.0.20"},
				{"stack_api.lan1.gvlan.internal", miekg.TypeA, "10.9.0.30"},
				{"10.0.9.10.in-addr.arpa", miekg.TypePTR, "web.lan1.gvlan.internal."},
				{"_http._tcp.web", miekg.TypeSRV, "8080"},
				{"web", miekg.TypeTXT, "path="},
				{"gvlan.internal", miekg.TypeSOA, "ns.gvlan.internal."},
				{"gvlan.internal", miekg.TypeNS, "ns.gvlan.internal."},
				{"example.com", miekg.TypeA, dnstest.External},
				{"99.0.9.10.in-addr.arpa", miekg.TypeA, dnstest.External}, // a device of the LAN, for all we know
			} {
				m := box.Lookup(network, tt.name, tt.qtype)
				if len(m.Answer) != 1 || !strings.Contains(m.Answer[0].String(), tt.want) {
					t.Errorf("%s %s: want %s, got\n%v", tt.name, miekg.TypeToString[tt.qtype], tt.want, m)
				}
			}
		})
	}
	if diff := cmp.Diff([]string{"99.0.9.10.in-addr.arpa.", "99.0.9.10.in-addr.arpa.", "example.com.", "example.com."},
		sorted(box.Docker.Passed())); diff != "" {
		t.Errorf("passed to docker's resolver (-want +got):\n%s", diff)
	}
}

// TestNoNameIsInTheRules: whatever containers and networks are called, the container's
// rules are the same but for our own ports.
func TestNoNameIsInTheRules(t *testing.T) {
	rules := func(names ...string) string {
		f := dnstest.House(t)
		box := dnstest.NewSandbox(t).WithDocker(nil)
		s := runSandboxes(t, f.Zone, enterPath)
		s.attach(t, box, "e1", "lan1")
		for _, name := range names {
			f.Define(name, "10.7.0.0/24")
			f.Start(dnstest.Endpoint("h1", "lan1", name, "10.9.0.66/24", dnstest.Alias(name)))
			s.attach(t, box, "e-"+name, name)
		}
		if m := box.Lookup("udp", "web", miekg.TypeA); len(m.Answer) != 1 {
			t.Errorf("web is answered\n%v", m)
		}
		own := regexp.MustCompile(`([sd]port (set )?)[0-9a-z]+`)
		table := box.Run("nft", "list", "chain", "ip", "gvlan_dns", "input") + box.Run("nft", "list", "chain", "ip", "gvlan_dns", "output")
		return own.ReplaceAllString(table, "${1}N") + box.Tables()
	}
	if diff := cmp.Diff(rules(), rules(dnstest.Hostile()...)); diff != "" {
		t.Errorf("rules (-plain +hostile):\n%s", diff)
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// TestSandboxIsolation asks from inside a container on lan1 for a container
// of another network in every way there is.
func TestSandboxIsolation(t *testing.T) {
	f := dnstest.House(t)
	f.Define("secret", "10.7.0.0/24")
	f.Start(dnstest.Endpoint("h1", "secret", "vault", "10.7.0.5/24", dnstest.Exposed("443/tcp")))
	box := dnstest.NewSandbox(t).WithDocker(nil)
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, box, "e1", "lan1")
	for _, network := range []string{"udp", "tcp"} {
		for _, name := range []string{
			"vault.secret.gvlan.internal", "secret.gvlan.internal", "5.0.7.10.in-addr.arpa", "_443._tcp.vault.secret.gvlan.internal",
			dnstest.ShortID("h1secretvault") + ".secret.gvlan.internal",
		} {
			for _, qtype := range []uint16{miekg.TypeA, miekg.TypePTR, miekg.TypeSRV, miekg.TypeANY} {
				if m := box.Lookup(network, name, qtype); m.Rcode != miekg.RcodeNameError {
					t.Errorf("%s %s: want NXDOMAIN, got\n%v", name, miekg.TypeToString[qtype], m)
				}
			}
		}
	}
	if passed := box.Docker.Passed(); len(passed) != 0 {
		t.Errorf("names below the domain were passed on: %v", passed)
	}
	for _, name := range []string{"vault", "vault.secret"} {
		for _, addr := range dnstest.Addresses(box.Lookup("udp", name, miekg.TypeA)) {
			if addr != dnstest.External {
				t.Errorf("%s answered %s", name, addr)
			}
		}
	}
	s.attach(t, box, "e2", "secret")
	if got := dnstest.Addresses(box.Lookup("udp", "vault", miekg.TypeA)); len(got) != 1 {
		t.Errorf("after joining the network: got %v", got)
	}
	s.Detach("e2")
	if got := dnstest.Addresses(box.Lookup("udp", "vault.secret.gvlan.internal", miekg.TypeA)); len(got) != 0 {
		t.Errorf("after leaving the network: got %v", got)
	}
	if got := dnstest.Addresses(box.Lookup("udp", "web", miekg.TypeA)); len(got) != 1 {
		t.Errorf("the other network's names went with it: got %v", got)
	}
}

// TestDockerFirst is a container on lan1 and on a bridge network that has a
// web of its own.
func TestDockerFirst(t *testing.T) {
	f := dnstest.House(t)
	f.Start(dnstest.Endpoint("h3", "lan1", "db_two", "10.9.0.21/24", dnstest.Alias("db")))
	box := dnstest.NewSandbox(t).WithDocker(map[string]string{"web.": "172.18.0.2", "db.": "10.9.0.20", "cache.": "172.18.0.3"})
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, box, "e1", "lan1")
	box.AddNetwork("lan", "10.9.0.40/24")
	ask := func(name string) string {
		return strings.Join(sorted(dnstest.Addresses(box.Lookup("udp", name, miekg.TypeA))), " ")
	}
	if got := ask("web"); got != "10.9.0.10" {
		t.Errorf("web with our network alone: got %s", got)
	}
	box.AddNetwork("bridge", "172.18.0.9/16")
	dnstest.Eventually(t, "the other network's web comes first", func() bool { return ask("web") == "172.18.0.2" })
	for name, want := range map[string]string{
		"web.lan1": "10.9.0.10", "web.lan1.gvlan.internal": "10.9.0.10", "cache": "172.18.0.3",
		"db":        "10.9.0.20 10.9.0.21", // Docker knows one, as this host's part of our network
		"stack_api": "10.9.0.30",           // Docker does not know it
	} {
		if got := ask(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if m := box.Lookup("udp", "web", miekg.TypeAAAA); len(m.Answer) != 0 {
		t.Errorf("half of web's addresses came from our network:\n%v", m)
	}
	if m := box.Lookup("tcp", "web", miekg.TypeA); dnstest.Addresses(m)[0] != "172.18.0.2" {
		t.Errorf("over TCP: %v", m)
	}
}

func TestSandboxLifecycle(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t).WithDocker(map[string]string{"web.": "172.18.0.2"})
	s := sandbox.New(f.Zone, enterPath, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err := s.Attach(box.Path, "e1", "uuid-lan1"); err != nil {
		t.Fatal(err)
	}
	web := func() string { return dnstest.Addresses(box.Lookup("udp", "web", miekg.TypeA))[0] }
	if got := web(); got != "172.18.0.2" {
		t.Errorf("before Run: got %s", got)
	}
	r := start(t, s)
	dnstest.Eventually(t, "opened by Run", func() bool { return web() == "10.9.0.10" })
	r.stop()
	if got := web(); got != "172.18.0.2" {
		t.Errorf("after Run: got %s", got)
	}
	if tables := box.Tables(); strings.Contains(tables, sandbox.TableName) {
		t.Errorf("after Run:\n%s", tables)
	}
	r = start(t, s)
	dnstest.Eventually(t, "opened again", func() bool { return web() == "10.9.0.10" })
	r.attach(t, box, "e1", "lan1") // once more changes nothing
	r.attach(t, box, "e2", "proj_lan")
	r.Detach("e1")
	if got := web(); got != "10.8.3.7" {
		t.Errorf("with the second network alone: got %s", got)
	}
	r.Detach("e2")
	r.Detach("e2")
	if got := web(); got != "172.18.0.2" {
		t.Errorf("after the last endpoint left: got %s", got)
	}
	if tables := box.Tables(); strings.Contains(tables, sandbox.TableName) {
		t.Errorf("after the last endpoint left:\n%s", tables)
	}
}

// TestNamespaceThatComesLater is an engine before 28: Join is over before
// the namespace is there.
func TestNamespaceThatComesLater(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t).WithDocker(nil)
	var there atomic.Bool
	s := runSandboxes(t, f.Zone, func(sandbox string, g func() error) error {
		if !there.Load() {
			return errNotYet
		}
		return enterPath(sandbox, g)
	})
	s.attach(t, box, "e1", "lan1")
	there.Store(true)
	dnstest.Eventually(t, "opened", func() bool { return len(dnstest.Addresses(box.Lookup("udp", "web", miekg.TypeA))) == 1 })
}

func TestOwnRulesFlushed(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t).WithDocker(nil)
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, box, "e1", "lan1")
	box.NFT("flush ruleset")
	box.NAT()
	dnstest.Eventually(t, "rules made again", func() bool { return len(dnstest.Addresses(box.Lookup("udp", "web", miekg.TypeA))) == 1 })
}

// TestRestartedDocker is dockerd restarted under live containers: its
// resolver has other ports, and connection tracking remembers the old ones
// for sockets that are kept: one that asks us is answered all the time.
func TestRestartedDocker(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t).WithDocker(map[string]string{"old.example.": "192.0.2.1"})
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, box, "e1", "lan1")
	if got := dnstest.Addresses(box.Lookup("udp", "old.example", miekg.TypeA)); got[0] != "192.0.2.1" {
		t.Fatalf("got %v", got)
	}
	kept := box.Client("udp")
	web := func(when string) {
		t.Helper()
		if got, err := dnstest.First(dnstest.Exchange(kept, "web", miekg.TypeA, time.Minute)); got != "10.9.0.10" {
			t.Errorf("a kept socket, %s: web is %q, %v", when, got, err)
		}
	}
	web("before")
	box.Docker.UDP.Close()
	box.Docker.TCP.Close()
	box.WithDocker(map[string]string{"old.example.": "192.0.2.2"})
	web("after")
	dnstest.Eventually(t, "answers of the new resolver", func() bool {
		conn := box.Client("udp")
		defer conn.Close()
		m, err := dnstest.Exchange(conn, "old.example", miekg.TypeA, 1e9)
		return err == nil && len(dnstest.Addresses(m)) == 1 && dnstest.Addresses(m)[0] == "192.0.2.2"
	})
}

// TestContainerWithItsOwnDNS runs a server on every address's port 53 in
// the container, and one on the mDNS port, as Pi-hole and Avahi do.
func TestContainerWithItsOwnDNS(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t).WithDocker(nil)
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, box, "e1", "lan1")
	serve := func(addr string) {
		pc, err := box.Listen(addr)
		if err != nil {
			t.Fatalf("the container cannot listen on %s: %v", addr, err)
		}
		own := &miekg.Server{PacketConn: pc, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
			m := new(miekg.Msg).SetReply(q)
			m.Rcode = miekg.RcodeYXDomain // nobody else says this
			w.WriteMsg(m)
		})}
		go own.ActivateAndServe()
		t.Cleanup(func() { own.Shutdown() })
	}
	serve("0.0.0.0:53")
	serve("0.0.0.0:5353")
	conn := box.Dial("udp4", "127.0.0.1:53")
	if m, err := dnstest.Exchange(conn, "web", miekg.TypeA, 5e9); err != nil || m.Rcode != miekg.RcodeYXDomain {
		t.Errorf("the container's own server was kept from its client: %v %v", m, err)
	}
	if got := dnstest.Addresses(box.Lookup("udp", "web", miekg.TypeA)); len(got) != 1 {
		t.Errorf("beside its own server: got %v", got)
	}
}

func TestUnsupportedKernel(t *testing.T) {
	f := dnstest.House(t)
	var log dnstest.Log
	calls := 0
	s := sandbox.New(f.Zone, func(string, func() error) error {
		calls++
		return sandbox.Unsupported(unix.EPROTONOSUPPORT)
	}, slog.New(slog.NewTextHandler(&log, nil)))
	r := start(t, s)
	for range 3 {
		if err := r.Attach("/run/docker/netns/x", "e1", "uuid-lan1"); !errors.Is(err, sandbox.ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	}
	r.stop()
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || calls != 1 {
		t.Errorf("said %d times after %d tries, want once:\n%s", n, calls, log.String())
	}
}
