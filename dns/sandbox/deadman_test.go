package sandbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/sandbox"
	"gvlan/dns/zone"
)

// serveVariable makes the test binary an agent for one sandbox, which it
// has open as its third descriptor.
const serveVariable = "GVLAN_TEST_SERVE_SANDBOX"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) == "" {
		os.Exit(m.Run())
	}
	if err := serveSandbox(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveSandbox() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	zone, err := zone.New(zone.Config{Node: "h1"})
	if err != nil {
		return err
	}
	f := &dnstest.Feed{Zone: zone, Rev: 1}
	f.Define("lan1", "10.9.0.0/24")
	f.Start(dnstest.Endpoint("h2", "lan1", "web", "10.9.0.10/24"))
	s := sandbox.New(zone, enterPath, slog.Default())
	s.Attach("/proc/self/fd/3", "e1", "uuid-lan1")
	return s.Run(ctx)
}

// agent starts a process that serves the sandbox, and waits until it does.
func agent(t *testing.T, s *dnstest.Sandbox) *exec.Cmd {
	t.Helper()
	sandbox, err := os.Open(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer sandbox.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"=1")
	cmd.Stderr = t.Output()
	cmd.ExtraFiles = []*os.File{sandbox}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	dnstest.Eventually(t, "the agent answers", func() bool {
		conn := s.Client("udp")
		defer conn.Close()
		m, err := dnstest.Exchange(conn, "web", miekg.TypeA, time.Second)
		return err == nil && len(dnstest.Addresses(m)) == 1 && dnstest.Addresses(m)[0] == "10.9.0.10"
	})
	return cmd
}

// TestDeadAgent kills an agent under clients that keep their sockets, one
// of each kind, and one that opens a new one each time. All must reach
// Docker's resolver by the kernel alone, and the agent again when it is
// back.
func TestDeadAgent(t *testing.T) {
	box := dnstest.NewSandbox(t).WithDocker(map[string]string{"web.": "172.18.0.2"})
	cmd := agent(t, box)
	kept := box.Client("udp")
	unconnected, err := box.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer unconnected.Close()
	clients := map[string]func() (string, error){
		"kept socket": func() (string, error) {
			return dnstest.First(dnstest.Exchange(kept, "web", miekg.TypeA, time.Second/4))
		},
		"kept unconnected socket": func() (string, error) { return dnstest.First(exchangeFrom(unconnected, "web")) },
		"new socket": func() (string, error) {
			conn := box.Client("udp")
			defer conn.Close()
			return dnstest.First(dnstest.Exchange(conn, "web", miekg.TypeA, time.Second/4))
		},
		"tcp": func() (string, error) {
			var conn net.Conn
			if err := box.NS.Do(func() (err error) {
				conn, err = net.DialTimeout("tcp4", "127.0.0.11:53", time.Second/4)
				return err
			}); err != nil {
				return "", err
			}
			defer conn.Close()
			return dnstest.First(dnstest.Exchange(conn, "web", miekg.TypeA, time.Second/4))
		},
	}
	reach := func(want string) {
		begin := time.Now()
		for name, ask := range clients {
			dnstest.Eventually(t, name+" reaches "+want, func() bool { got, err := ask(); return err == nil && got == want })
			t.Logf("%s reached %s after %v", name, want, time.Since(begin).Round(time.Millisecond))
		}
	}
	reach("10.9.0.10")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	reach("172.18.0.2")
	cmd = agent(t, box)
	reach("10.9.0.10")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("agent: %v", err)
	}
	for name, ask := range clients {
		if got, err := ask(); got != "172.18.0.2" {
			t.Errorf("%s right after the agent stopped: %s %v", name, got, err)
		}
	}
}

// exchangeFrom asks over a socket that is not connected, as c-ares and
// others do, so that no error of the kernel reaches it.
func exchangeFrom(pc net.PacketConn, name string) (*miekg.Msg, error) {
	q := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), miekg.TypeA)
	raw, err := q.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := pc.WriteTo(raw, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 11), Port: 53}); err != nil {
		return nil, err
	}
	pc.SetReadDeadline(time.Now().Add(time.Second / 4))
	buf := make([]byte, 4096)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return nil, err
		}
		var m miekg.Msg
		if m.Unpack(buf[:n]) == nil && m.Id == q.Id {
			if from.String() != "127.0.0.11:53" {
				return nil, fmt.Errorf("answer came from %s", from)
			}
			return &m, nil
		}
	}
}

// TestSandboxWithoutProcess ends a container's only process without telling
// anybody: the resolver must let go of the namespace, and come back with a
// new process.
func TestSandboxWithoutProcess(t *testing.T) {
	f := dnstest.House(t)
	box := dnstest.NewSandbox(t).WithDocker(nil)
	s := runSandboxes(t, f.Zone, enterPath)
	s.attach(t, box, "e1", "lan1")
	for range 2 {
		end := box.Process()
		for range 2 * sandbox.IdleLimit {
			s.CheckProcesses()
		}
		dnstest.Eventually(t, "open with a process", s.AllOpen)
		end()
		for range sandbox.IdleLimit {
			s.CheckProcesses()
		}
		if s.AllOpen() {
			t.Fatal("the sandbox is held open without a process")
		}
	}
	if tables := box.Tables(); tables == "" {
		t.Error("the namespace itself must be left alone")
	}
}
