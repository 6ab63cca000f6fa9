package hosting_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/description"
	"gvlan/cluster/events/eventstest"
	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/session"
)

// host is one with a Store, a client and a session, as an agent has them, on the
// loopback.
type host struct {
	t       *testing.T
	config  hosting.Config
	store   *hosting.Store
	client  *etcd.Client
	session *session.Session
	known   *known
	stop    context.CancelFunc
	ended   chan error
}

// known is a session's past, in memory.
type known struct {
	at atomic.Pointer[session.Memory]
}

func (k *known) LoadPast() (session.Memory, error) {
	if m := k.at.Load(); m != nil {
		return *m, nil
	}
	return session.Memory{}, nil
}

func (k *known) SavePast(m session.Memory) error {
	k.at.Store(&m)
	return nil
}

// newHost prepares a host that would serve at an address of its own.
func newHost(t *testing.T, node string) *host {
	base := freeBase(t)
	return &host{t: t, known: &known{}, config: hosting.Config{
		Dir: t.TempDir(), Node: node, Install: "install-" + node, Host: "host-" + node, Address: base.Addr(),
		Patience: 20 * time.Second, Events: &eventstest.Heard{}, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("host", node),
	}}
}

// freeBase is a loopback address of its own, so that no two hosts share one, nor
// two runs of these tests.
func freeBase(t *testing.T) netip.AddrPort {
	t.Helper()
	n, run := addresses.Add(1), os.Getpid()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 100 + byte(run>>8)%100, byte(run), byte(n)}), hosting.DefaultPort)
}

// addresses counts those that were given out.
var addresses atomic.Uint32

// start opens what the host stands for now, and runs it.
func (h *host) start() {
	h.t.Helper()
	var err error
	if h.store, err = hosting.Open(h.config); err != nil {
		h.t.Fatal(err)
	}
	if h.store.Moved() {
		if h.store.Cluster() != "" {
			h.known = &known{}
		}
		if err := h.store.Settle(); err != nil {
			h.t.Fatal(err)
		}
	}
	h.client, err = etcd.New(etcd.Config{Endpoints: h.store.Endpoints(), TLS: h.store.TLS(), Broken: h.store.Trouble, Log: h.config.Log})
	if err != nil {
		h.t.Fatal(err)
	}
	h.session = session.New(h.client, session.Identity{
		Node: h.config.Node, Install: h.config.Install, Boot: "boot", Host: h.config.Host, Address: h.config.Address.String(),
	}, h.known, h.config.Log)
	ctx, stop := context.WithCancel(context.Background())
	h.stop, h.ended = stop, make(chan error, 1)
	served, held := make(chan error, 1), make(chan error, 1)
	hold, release := context.WithCancel(context.Background())
	go func() { served <- h.store.Run(hold, h.session, h.client) }()
	go func() { held <- h.session.Run(ctx) }()
	go func(s *session.Session, own *hosting.Store) { h.describe(ctx, s, own) }(h.session, h.store)
	go func(client *etcd.Client) {
		var sessionErr, storeErr error
		select { // whatever ends first ends the other
		case <-ctx.Done():
			sessionErr = <-held
			release()
			storeErr = <-served
		case sessionErr = <-held:
			release()
			storeErr = <-served
		case storeErr = <-served:
			stop()
			sessionErr = <-held
		}
		release()
		h.ended <- errors.Join(sessionErr, storeErr, client.Close())
	}(h.client)
	h.t.Cleanup(stop)
}

// describe has the store know where this host would run a member.
func (h *host) describe(ctx context.Context, s *session.Session, own *hosting.Store) {
	select {
	case <-ctx.Done():
		return
	case <-s.Opened():
	}
	for ctx.Err() == nil {
		if description.Publish(ctx, s, store.Node{Node: h.config.Node, Host: h.config.Host, Store: own.Base()}) == nil {
			return
		}
		store.Sleep(ctx, 100*time.Millisecond)
	}
}

// end stops the host in order.
func (h *host) end() {
	h.t.Helper()
	h.stop()
	if err := <-h.ended; err != nil {
		h.t.Errorf("%s ended with %v", h.config.Node, err)
	}
}

// restart ends the host and starts what it stands for now.
func (h *host) restart() {
	h.t.Helper()
	h.end()
	h.start()
}

// begin makes a host that begins a cluster.
func begin(t *testing.T, node string) *host {
	t.Helper()
	h := newHost(t, node)
	h.start()
	h.waitTrusted()
	if err := h.store.Begin(h.config.Address.String()); err != nil {
		t.Fatal(err)
	}
	h.restart()
	h.waitTrusted()
	return h
}

// token is what others join with, once there is one.
func (h *host) token() string {
	h.t.Helper()
	var text string
	h.eventually("there is a token", func() error {
		token, err := h.store.Token(h.t.Context())
		text = token.String()
		return err
	})
	return text
}

// joinTo makes a host that joins the cluster of another.
func joinTo(t *testing.T, node string, by *host) *host {
	t.Helper()
	h := newHost(t, node)
	h.start()
	h.waitTrusted()
	token := by.token()
	if err := h.store.Join(t.Context(), by.store.Base(), token, nil); err != nil {
		t.Fatal(err)
	}
	h.restart()
	h.waitTrusted()
	return h
}

func (h *host) waitTrusted() {
	h.t.Helper()
	h.eventually(h.config.Node+" trusts its store", h.session.Trusted)
}

// eventually tries until it succeeds.
func (h *host) eventually(what string, try func() error) {
	h.t.Helper()
	const patience = 90 * time.Second // a guard, not a measure
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("not so after %s: %s: %v", patience, what, err)
		}
	}
}

// roles waits until the members are as wanted, "h1 voter, h2 learner", the
// leader counting as a voter.
func (h *host) roles(want string) {
	h.t.Helper()
	h.eventually("members are "+want, func() error {
		survey, err := h.store.Survey(h.t.Context(), h.session, h.client)
		if err != nil {
			return err
		}
		var all []string
		for _, node := range strings.Split("h1 h2 h3 h4", " ") {
			for _, m := range survey.Members {
				if m.Node != node {
					continue
				}
				role := "voter"
				if m.Learner {
					role = "learner"
				}
				if !m.Answers {
					role = "silent " + role
				}
				all = append(all, node+" "+role)
			}
		}
		if got := strings.Join(all, ", "); got != want {
			return errors.New(got)
		}
		return nil
	})
}

// writes puts a key through the host's session.
func (h *host) writes(key string) {
	h.t.Helper()
	h.eventually(h.config.Node+" writes "+key, func() error {
		_, err := h.session.Commit(h.t.Context(), store.Txn{Then: []store.Op{store.Put("/test/"+key, []byte("{}"))}})
		return err
	})
}

// Who asks for the token right after `gvlan init` gets it.
func TestTokenOfANewCluster(t *testing.T) {
	t.Parallel()
	h := newHost(t, "h1")
	h.config.Listen = h.config.Address.String()
	h.start()
	if _, err := h.store.Token(t.Context()); err != nil {
		t.Error(err)
	}
	h.end()

	solo := newHost(t, "h2")
	solo.start()
	if _, err := solo.store.Token(t.Context()); !errors.Is(err, hosting.ErrNoMember) {
		t.Errorf("of a host that keeps none: %v, want ErrNoMember", err)
	}
	solo.end()
}

func TestThreeVoters(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	h1.roles("h1 voter")
	h2 := joinTo(t, "h2", h1)
	h1.roles("h1 voter, h2 learner")
	h3 := joinTo(t, "h3", h2)
	h1.roles("h1 voter, h2 voter, h3 voter")
	h4 := joinTo(t, "h4", h1)

	// Any one may die: the others go on, and it finds them again.
	h1.end()
	h4.writes("a")
	h3.writes("b")
	h1.start()
	h1.waitTrusted()
	h1.roles("h1 voter, h2 voter, h3 voter")
	for _, h := range []*host{h4, h3, h2, h1} {
		h.end()
	}
	// All come back, in another order, each by what it remembers.
	for _, h := range []*host{h3, h1, h4, h2} {
		h.start()
	}
	for _, h := range []*host{h1, h2, h3, h4} {
		h.waitTrusted()
	}
	h4.roles("h1 voter, h2 voter, h3 voter")
	for _, h := range []*host{h1, h2, h3, h4} {
		h.end()
	}
}

func TestJoinIsRefused(t *testing.T) {
	t.Parallel()
	h1 := begin(t, "h1")
	token := h1.token()
	h2 := newHost(t, "h2")
	h2.start()
	h2.waitTrusted()
	for name, test := range map[string]struct{ address, token, want string }{
		"no token":           {h1.store.Base(), "gvlan1-abc", "not a token"},
		"nobody there":       {netip.AddrPortFrom(freeBase(t).Addr(), 2379).String(), token, "no gvlan answers"},
		"of another cluster": {h1.store.Base(), begin(t, "h3").token(), "the token is not valid there"},
	} {
		err := h2.store.Join(t.Context(), test.address, test.token, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), test.token) {
			t.Errorf("%s: the error repeats the token", name)
		}
	}
	h2.restart()
	if h2.store.Standing() != hosting.Solo {
		t.Errorf("a refused host is %s", h2.store.Standing())
	}
	h2.end()
	h1.end()
}

// TestJoinsWhenItIsTold: a host with --join in its settings knocks until it is let
// in, and says what it waits for.
func TestJoinsWhenItIsTold(t *testing.T) {
	t.Parallel()
	h1 := newHost(t, "h1")
	h2 := newHost(t, "h2")
	token := make(chan string, 1)
	h2.config.Join = net.JoinHostPort(h1.config.Address.String(), fmt.Sprint(hosting.DefaultPort))
	h2.config.Token = func() (string, error) {
		select {
		case text := <-token:
			token <- text
			return text, nil
		default:
			return "", errors.New("no token yet")
		}
	}
	h2.start()
	h2.eventually("it says whom it asks", func() error {
		if why := h2.store.Trouble(); why == nil || !strings.Contains(why.Error(), h2.config.Join) || !errors.Is(why, store.ErrUnavailable) {
			return fmt.Errorf("trouble is not that it waits: %w", cmp.Or(why, errors.New("none")))
		}
		return nil
	})
	h1.config.Listen = netip.AddrPortFrom(h1.config.Address, hosting.DefaultPort).String()
	h1.start() // begins by itself
	h1.waitTrusted()
	token <- h1.token()
	if err := <-h2.ended; !errors.Is(err, hosting.ErrMoved) {
		t.Fatalf("it ended with %v, want ErrMoved", err)
	}
	h2.start()
	h2.waitTrusted()
	h1.roles("h1 voter, h2 learner")
	h2.end()
	h1.end()
}
