package docker_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	miekg "github.com/miekg/dns"

	"gvlan/driver/netns"
	"gvlan/tests/lab"
)

// dockerResolver is where every container on a network of its own asks.
const dockerResolver = "127.0.0.11:53"

// transports are what every question is asked over.
var transports = []string{"udp", "tcp"}

// asker asks from inside a container, as a program in it would.
type asker struct {
	c    *cluster
	name string // of the container
	box  string // its network namespace, seen from here
}

// asker enters a running container.
func (c *cluster) asker(h *lab.Host, container string) asker {
	c.t.Helper()
	key := h.MustDocker(c.t, "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", container)
	return asker{c: c, name: container, box: h.Path(strings.Replace(key, "/var/run/", "/run/", 1))}
}

// dial opens a socket in the container.
func (a asker) dial(network, server string) (conn net.Conn, err error) {
	err = netns.Do(a.box, func() (err error) {
		conn, err = net.DialTimeout(network, server, 5*time.Second)
		return err
	})
	return conn, err
}

// ask asks one question on a socket of its own.
func (a asker) ask(transport, server, name string, qtype uint16) (*miekg.Msg, error) {
	conn, err := a.dial(transport, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	m, _, err := (&miekg.Client{Timeout: 10 * time.Second}).ExchangeWithConn(question(name, qtype), &miekg.Conn{Conn: conn})
	return m, err
}

func question(name string, qtype uint16) *miekg.Msg {
	return new(miekg.Msg).SetQuestion(miekg.Fqdn(name), qtype)
}

// gets waits until a question gets exactly this answer, in any order, over
// each transport.
func (a asker) gets(name, qtype string, want ...string) {
	a.c.t.Helper()
	slices.Sort(want)
	for _, transport := range transports {
		eventually(a.c.t, fmt.Sprintf("%s to get %s %s over %s", a.name, qtype, name, transport), func() error {
			m, err := a.ask(transport, dockerResolver, name, miekg.StringToType[qtype])
			if err != nil {
				return err
			}
			if got := data(m.Answer); !slices.Equal(got, want) {
				return fmt.Errorf("got %s %v, want %v", miekg.RcodeToString[m.Rcode], got, want)
			}
			return nil
		})
	}
}

// getsNothing asks for a name that the container must not know, over each
// transport. A name that stops being known may take a moment: the change
// comes by way of etcd.
func (a asker) getsNothing(name, qtype string) {
	a.c.t.Helper()
	for _, transport := range transports {
		eventually(a.c.t, fmt.Sprintf("%s to get nothing for %s %s over %s", a.name, qtype, name, transport), func() error {
			m, err := a.ask(transport, dockerResolver, name, miekg.StringToType[qtype])
			if err != nil {
				return err
			}
			if len(m.Answer)+len(m.Extra) > 0 {
				return fmt.Errorf("got %v", m)
			}
			return nil
		})
	}
}

// neverGets is getsNothing for what must never have been known: the first
// answer counts.
func (a asker) neverGets(name, qtype string) {
	a.c.t.Helper()
	for _, transport := range transports {
		m, err := a.ask(transport, dockerResolver, name, miekg.StringToType[qtype])
		if err != nil {
			a.c.t.Errorf("%s asks %s %s over %s: %v", a.name, qtype, name, transport, err)
		} else if len(m.Answer)+len(m.Extra) > 0 {
			a.c.t.Errorf("%s asks %s %s over %s and gets\n%v\nwant nothing", a.name, qtype, name, transport, m)
		}
	}
}

// data are the records' contents, sorted.
func data(rrs []miekg.RR) []string {
	var all []string
	for _, rr := range rrs {
		all = append(all, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(all)
	return all
}

// reverse is the name to ask for what an address is called.
func reverse(t *testing.T, addr netip.Addr) string {
	t.Helper()
	return must(miekg.ReverseAddr(addr.String()))(t)
}

// rules lists the tables of ours in the container's namespace.
func (a asker) rules() string {
	a.c.t.Helper()
	var ours []string
	err := netns.Do(a.box, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTables()
		for _, table := range tables {
			if strings.Contains(table.Name, "gvlan") {
				ours = append(ours, table.Name)
			}
		}
		return err
	})
	if err != nil {
		a.c.t.Fatal(err)
	}
	return strings.Join(ours, " ")
}

// wantRules waits until the container has our table, or has none.
func (a asker) wantRules(want string) {
	a.c.t.Helper()
	eventually(a.c.t, fmt.Sprintf("the rules in %s to be %q", a.name, want), func() error {
		if got := a.rules(); got != want {
			return fmt.Errorf("there are %q", got)
		}
		return nil
	})
}

// upstream is a name server on the LAN: what --dns points at. It knows
// www.example.com and nothing else, and remembers what it was asked.
type upstream struct {
	mu    sync.Mutex
	asked map[string]bool
}

// newUpstream serves on every address of the peer.
func (c *cluster) newUpstream() *upstream {
	c.t.Helper()
	u := &upstream{asked: map[string]bool{}}
	packets := must(c.Peer.ListenPacket(c.t.Context(), "udp", ":53"))(c.t)
	streams := must(c.Peer.Listen(c.t.Context(), "tcp", ":53"))(c.t)
	serve(c.t, packets, streams, u.answer)
	return u
}

// serve answers on both sockets until the test ends.
func serve(t *testing.T, packets net.PacketConn, streams net.Listener, answer miekg.HandlerFunc) {
	t.Helper()
	for _, s := range []*miekg.Server{{PacketConn: packets, Handler: answer}, {Listener: streams, Handler: answer}} {
		started, done := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(started) }
		go func() { done <- s.ActivateAndServe() }()
		t.Cleanup(func() {
			_ = s.ShutdownContext(context.Background())
			<-done
		})
		select {
		case <-started:
		case err := <-done:
			done <- err
			t.Fatalf("serve names: %v", err)
		}
	}
}

// external is what only the upstream knows.
const external, externalAddr = "www.example.com", "192.0.2.80"

func (u *upstream) answer(w miekg.ResponseWriter, q *miekg.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	u.mu.Lock()
	u.asked[name] = true
	u.mu.Unlock()
	m := new(miekg.Msg).SetReply(q)
	switch {
	case name != external+".":
		m.Rcode = miekg.RcodeNameError
	case q.Question[0].Qtype == miekg.TypeA:
		m.Answer = append(m.Answer, &miekg.A{
			Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 1},
			A:   net.ParseIP(externalAddr),
		})
	}
	_ = w.WriteMsg(m)
}

// leaked lists the questions below a domain that came out of containers.
func (u *upstream) leaked(domain string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []string
	for name := range u.asked {
		if strings.HasSuffix(name, "."+domain+".") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// heard reports whether the upstream was asked for a name.
func (u *upstream) heard(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[name+"."]
}
