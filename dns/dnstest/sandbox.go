package dnstest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
)

// Sandbox is a network namespace as Docker leaves it to a container: a
// loopback, a resolver on a random port of 127.0.0.11, and the NAT that
// leads port 53 there.
type Sandbox struct {
	t    testing.TB
	NS   *netns.Namespace
	Path string // the SandboxKey

	Docker *Docker
}

// Docker is a resolver that knows a few names, and says of every other
// that it went to the configured server.
type Docker struct {
	names map[string]string // name with its dot: address
	asked chan string
	until atomic.Pointer[<-chan struct{}] // it says nothing until that is closed
	UDP   *net.UDPConn
	TCP   net.Listener
}

// External is the address that Docker's "configured server" has for names it
// does not know.
const External = "203.0.113.9"

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces") //nolint:forbidigo // not root
	}
}

// NewSandbox makes a namespace, which goes with the test.
func NewSandbox(t testing.TB) *Sandbox {
	t.Helper()
	needRoot(t)
	ns, err := netnstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	s := &Sandbox{t: t, NS: ns, Path: fmt.Sprintf("/proc/self/fd/%d", ns.Fd())}
	s.Run("ip", "link", "set", "lo", "up")
	return s
}

// WithDocker starts a resolver of Docker's in the sandbox.
func (s *Sandbox) WithDocker(names map[string]string) *Sandbox {
	s.t.Helper()
	d := &Docker{names: names, asked: make(chan string, 1024)}
	s.Do(func() (err error) {
		if d.UDP, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 11)}); err != nil {
			return err
		}
		d.TCP, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 11)})
		return err
	})
	udp := &miekg.Server{PacketConn: d.UDP, Handler: d}
	tcp := &miekg.Server{Listener: d.TCP, Handler: d}
	go udp.ActivateAndServe()
	go tcp.ActivateAndServe()
	s.t.Cleanup(func() { udp.Shutdown(); tcp.Shutdown() })
	s.Docker = d
	s.NAT()
	return s
}

// NAT makes the rules Docker makes, for the ports its resolver has now.
func (s *Sandbox) NAT() {
	s.t.Helper()
	udp, tcp := s.Docker.UDP.LocalAddr().(*net.UDPAddr).Port, s.Docker.TCP.Addr().(*net.TCPAddr).Port
	s.NFT(fmt.Sprintf(`table ip docker {}
delete table ip docker
table ip docker {
  chain output { type nat hook output priority -100;
    ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:%d
    ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:%d
  }
  chain post { type nat hook postrouting priority 100;
    ip saddr 127.0.0.11 udp sport %d snat to :53
    ip saddr 127.0.0.11 tcp sport %d snat to :53
  }
}`, udp, tcp, udp, tcp))
}

// Silent has it answer nothing from now on; what is asked is kept until a channel is
// closed.
func (d *Docker) Silent(until <-chan struct{}) { d.until.Store(&until) }

// ServeDNS answers as Docker's resolver does.
func (d *Docker) ServeDNS(w miekg.ResponseWriter, q *miekg.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	select {
	case d.asked <- name:
	default:
	}
	if until := d.until.Load(); until != nil {
		<-*until
		return
	}
	m := new(miekg.Msg).SetReply(q)
	m.RecursionAvailable = true
	hdr := miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 600}
	addr, known := d.names[name]
	switch {
	case known && q.Question[0].Qtype == miekg.TypeA:
		m.Answer = append(m.Answer, &miekg.A{Hdr: hdr, A: net.ParseIP(addr)})
	case known:
	case strings.Count(name, ".") == 1:
		m.Rcode = miekg.RcodeNameError // the configured server knows no such top-level domain
	case q.Question[0].Qtype == miekg.TypeA:
		m.Answer = append(m.Answer, &miekg.A{Hdr: hdr, A: net.ParseIP(External)})
	}
	w.WriteMsg(m)
}

// Passed returns the names the fake resolver was asked for so far.
func (d *Docker) Passed() []string {
	var names []string
	for {
		select {
		case name := <-d.asked:
			names = append(names, name)
		default:
			return names
		}
	}
}

// Do runs f inside the sandbox.
func (s *Sandbox) Do(f func() error) {
	s.t.Helper()
	if err := s.NS.Do(f); err != nil {
		s.t.Fatal(err)
	}
}

// Run runs a command inside the sandbox and returns what it printed.
func (s *Sandbox) Run(name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	return s.output(cmd)
}

func (s *Sandbox) output(cmd *exec.Cmd) string {
	s.t.Helper()
	var out []byte
	s.Do(func() (err error) {
		if out, err = cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
		return nil
	})
	return string(out)
}

// NFT feeds rules to nft inside the sandbox.
func (s *Sandbox) NFT(rules string) {
	s.t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	s.output(cmd)
}

// Tables returns the sandbox's nftables tables.
func (s *Sandbox) Tables() string { s.t.Helper(); return s.Run("nft", "list", "tables") }

// Client opens a client's socket to Docker's resolver inside the sandbox.
func (s *Sandbox) Client(network string) net.Conn {
	s.t.Helper()
	return s.Dial(network, "127.0.0.11:53")
}

// Lookup asks for a name as a process in the container would.
func (s *Sandbox) Lookup(network, name string, qtype uint16) *miekg.Msg {
	s.t.Helper()
	conn := s.Client(network)
	defer conn.Close()
	m, err := Exchange(conn, name, qtype, 5*time.Second)
	if err != nil {
		s.t.Fatalf("%s %s %s: %v", network, name, miekg.TypeToString[qtype], err)
	}
	return m
}

// AddNetwork adds an interface of another network with an address on it.
func (s *Sandbox) AddNetwork(name, prefix string) {
	s.t.Helper()
	s.Run("ip", "link", "add", name, "type", "veth", "peer", "name", name+"p")
	s.Run("ip", "address", "add", prefix, "dev", name)
	s.Run("ip", "link", "set", name, "up")
}

// Listen opens a server's socket inside the sandbox.
func (s *Sandbox) Listen(addr string) (pc net.PacketConn, err error) {
	err = s.NS.Do(func() (err error) {
		pc, err = net.ListenPacket("udp4", addr)
		return err
	})
	return pc, err
}

// Dial opens a client's socket to a server inside the sandbox.
func (s *Sandbox) Dial(network, addr string) (conn net.Conn) {
	s.t.Helper()
	s.Do(func() (err error) {
		conn, err = net.DialTimeout(network, addr, 5*time.Second)
		return err
	})
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// Process starts something that runs in the sandbox until the returned
// function ends it.
func (s *Sandbox) Process() (end func()) {
	s.t.Helper()
	cmd := exec.Command("sh", "-c", "echo started; exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.Do(cmd.Start)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.t.Fatal(err)
	}
	end = func() { cmd.Process.Kill(); cmd.Wait() }
	s.t.Cleanup(end)
	return end
}
