package dns

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/driver/netns"
)

// A fakeSandbox is a network namespace as Docker leaves it to a container: a
// loopback, a resolver on a random port of 127.0.0.11, and the NAT that
// leads port 53 there.
type fakeSandbox struct {
	t    testing.TB
	ns   *netns.Namespace
	path string // the SandboxKey

	docker *fakeDocker
}

// fakeDocker is a resolver that knows a few names, and says of every other
// that it went to the configured server.
type fakeDocker struct {
	names map[string]string // name with its dot: address
	asked chan string
	udp   *net.UDPConn
	tcp   net.Listener
}

const external = "203.0.113.9" // what the fake resolver's "configured server" says

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
}

func newSandbox(t testing.TB) *fakeSandbox {
	t.Helper()
	needRoot(t)
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	s := &fakeSandbox{t: t, ns: ns, path: fmt.Sprintf("/proc/self/fd/%d", ns.Fd())}
	s.run("ip", "link", "set", "lo", "up")
	return s
}

// withDocker starts a resolver of Docker's in the sandbox.
func (s *fakeSandbox) withDocker(names map[string]string) *fakeSandbox {
	s.t.Helper()
	d := &fakeDocker{names: names, asked: make(chan string, 1024)}
	s.do(func() (err error) {
		if d.udp, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 11)}); err != nil {
			return err
		}
		d.tcp, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 11)})
		return err
	})
	udp := &miekg.Server{PacketConn: d.udp, Handler: d}
	tcp := &miekg.Server{Listener: d.tcp, Handler: d}
	go udp.ActivateAndServe()
	go tcp.ActivateAndServe()
	s.t.Cleanup(func() { udp.Shutdown(); tcp.Shutdown() })
	s.docker = d
	s.nat()
	return s
}

// nat makes the rules Docker makes, for the ports its resolver has now.
func (s *fakeSandbox) nat() {
	s.t.Helper()
	udp, tcp := s.docker.udp.LocalAddr().(*net.UDPAddr).Port, s.docker.tcp.Addr().(*net.TCPAddr).Port
	s.nft(fmt.Sprintf(`table ip docker {}
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

// ServeDNS answers as Docker's resolver does.
func (d *fakeDocker) ServeDNS(w miekg.ResponseWriter, q *miekg.Msg) {
	name := strings.ToLower(q.Question[0].Name)
	select {
	case d.asked <- name:
	default:
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
		m.Answer = append(m.Answer, &miekg.A{Hdr: hdr, A: net.ParseIP(external)})
	}
	w.WriteMsg(m)
}

// passed returns the names the fake resolver was asked for so far.
func (d *fakeDocker) passed() []string {
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

func (s *fakeSandbox) do(f func() error) {
	s.t.Helper()
	if err := s.ns.Do(f); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command inside the sandbox and returns what it printed.
func (s *fakeSandbox) run(name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	return s.output(cmd)
}

func (s *fakeSandbox) output(cmd *exec.Cmd) string {
	s.t.Helper()
	var out []byte
	s.do(func() (err error) {
		if out, err = cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
		return nil
	})
	return string(out)
}

func (s *fakeSandbox) nft(rules string) {
	s.t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	s.output(cmd)
}

// tables returns the sandbox's nftables tables.
func (s *fakeSandbox) tables() string { s.t.Helper(); return s.run("nft", "list", "tables") }

// client opens a client's socket to Docker's resolver inside the sandbox.
func (s *fakeSandbox) client(network string) net.Conn {
	s.t.Helper()
	return s.dial(network, "127.0.0.11:53")
}

// lookup asks for a name as a process in the container would.
func (s *fakeSandbox) lookup(network, name string, qtype uint16) *miekg.Msg {
	s.t.Helper()
	conn := s.client(network)
	defer conn.Close()
	m, err := exchange(conn, name, qtype, 5*time.Second)
	if err != nil {
		s.t.Fatalf("%s %s %s: %v", network, name, miekg.TypeToString[qtype], err)
	}
	return m
}

// addNetwork adds an interface of another network with an address on it.
func (s *fakeSandbox) addNetwork(name, prefix string) {
	s.t.Helper()
	s.run("ip", "link", "add", name, "type", "veth", "peer", "name", name+"p")
	s.run("ip", "address", "add", prefix, "dev", name)
	s.run("ip", "link", "set", name, "up")
}

// listen opens a server's socket inside the sandbox.
func (s *fakeSandbox) listen(addr string) (pc net.PacketConn, err error) {
	err = s.ns.Do(func() (err error) {
		pc, err = net.ListenPacket("udp4", addr)
		return err
	})
	return pc, err
}

// dial opens a client's socket to a server inside the sandbox.
func (s *fakeSandbox) dial(network, addr string) (conn net.Conn) {
	s.t.Helper()
	s.do(func() (err error) {
		conn, err = net.DialTimeout(network, addr, 5*time.Second)
		return err
	})
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// process starts something that runs in the sandbox until the returned
// function ends it.
func (s *fakeSandbox) process() (end func()) {
	s.t.Helper()
	cmd := exec.Command("sh", "-c", "echo started; exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.do(cmd.Start)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.t.Fatal(err)
	}
	end = func() { cmd.Process.Kill(); cmd.Wait() }
	s.t.Cleanup(end)
	return end
}
