package lab

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

//go:embed machine.sh
var machineScript string

// Machine is a set of namespaces (mount, net, pid, uts, ipc) with a root file system
// of its own, writable in memory, and process 1. Killing process 1 ends every process
// in it, containers included: pid_namespaces(7).
type Machine struct {
	// Name is the machine's host name: h1, h2 ..., lan, peer.
	Name string
	// PID is process 1 as seen from outside; /proc/PID/root is the machine's root.
	PID int
	// Addr4 and Addr6 are its addresses on the LAN, on its link eth1.
	Addr4, Addr6 netip.Addr

	lab      *Lab
	release  Release   // whose root file system it started from
	start    string    // process 1's start time, see Identity
	ending   sync.Once // shutdown
	holder   *exec.Cmd // unshare(1), parent of process 1
	lifeline io.Closer // write end of process 1's standard input
	links    *netlink.Handle

	mu      sync.Mutex
	started []*Process
}

// boot starts a machine whose files start out as those of a release of Docker, and
// registers it: Close ends it.
func (l *Lab) boot(name string, release Release) (_ *Machine, err error) {
	root, err := release.root()
	if err != nil {
		return nil, err
	}
	programs, err := release.programs()
	if err != nil {
		return nil, err
	}
	m := &Machine{Name: name, lab: l, release: release}
	line := []string{"--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
		"tini-static", "-s", "--", "sh", "-c", machineScript, "machine", root, name, l.ID + "-" + name, programs}
	m.holder = exec.Command("unshare", append(line, l.shared()...)...)
	m.holder.Env = l.env()
	m.holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is the owner's to handle
	var stderr bytes.Buffer
	m.holder.Stderr = &stderr
	if m.lifeline, err = m.holder.StdinPipe(); err != nil {
		return nil, fmt.Errorf("open lifeline of %s: %w", name, err)
	}
	stdout, err := m.holder.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("open output of %s: %w", name, err)
	}
	if err := m.holder.Start(); err != nil {
		return nil, fmt.Errorf("start machine %s: %w", name, err)
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		m.shutdown()
		return nil, fmt.Errorf("set up machine %s: %s", name, strings.TrimSpace(stderr.String()))
	}
	if m.PID, err = onlyChild(m.holder.Process.Pid); err != nil {
		m.shutdown()
		return nil, fmt.Errorf("find process 1 of %s: %w", name, err)
	}
	if err := errors.Join(m.openLinks(), l.add(m)); err != nil {
		m.shutdown()
		return nil, err
	}
	return m, nil
}

func (m *Machine) openLinks() error {
	ns, err := netns.GetFromPid(m.PID)
	if err != nil {
		return fmt.Errorf("open network namespace of %s: %w", m.Name, err)
	}
	defer ns.Close()
	if m.links, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink in %s: %w", m.Name, err)
	}
	return nil
}

// shutdown ends the machine and everything in it and waits until it is gone.
func (m *Machine) shutdown() { m.ending.Do(m.end) }

func (m *Machine) end() {
	if m.links != nil {
		m.links.Close()
	}
	m.lifeline.Close()
	if m.PID != 0 {
		// The closed lifeline is enough, unless process 1 is paused.
		_ = syscall.Kill(m.PID, syscall.SIGKILL)
	}
	// Process 1 is gone when everything is that ran in its namespace, and what ran
	// under a paused nsenter waits for that.
	m.mu.Lock()
	for _, p := range m.started {
		if p.Running() {
			p.wakeParent()
		}
	}
	m.mu.Unlock()
	_ = m.holder.Wait()
}

// Path gives the path, seen from outside, of a file inside the machine.
func (m *Machine) Path(inside string) string {
	return filepath.Join("/proc", strconv.Itoa(m.PID), "root", inside)
}

// WriteFile writes a file inside the machine, making its directory when needed.
func (m *Machine) WriteFile(inside string, data []byte) error { return m.write(inside, data, 0o644) }

// WriteSecret is WriteFile for what only root may read.
func (m *Machine) WriteSecret(inside string, data []byte) error { return m.write(inside, data, 0o600) }

func (m *Machine) write(inside string, data []byte, mode os.FileMode) error {
	path := m.Path(inside)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s on %s: %w", inside, m.Name, err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		return fmt.Errorf("write %s on %s: %w", inside, m.Name, err)
	}
	return nil
}

// Enter gives the command line that enters the machine: nsenter(1) and its
// arguments, to be followed by a program.
func (m *Machine) Enter() []string { return enter(m.PID) }

// Enter gives the command line that enters a machine of a running lab.
func (m MachineState) Enter() []string { return enter(m.PID) }

func enter(pid int) []string {
	return []string{"nsenter", "-t", strconv.Itoa(pid), "-m", "-n", "-p", "-u", "-i", "--"}
}

// Command prepares a program that runs inside the machine. When ctx ends, the
// program's process group is killed.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	line := append(m.Enter(), name)
	line = append(line, args...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = m.lab.env()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// unhealthy is gvlan's exit status where it has found something wrong.
const unhealthy = 3

// Exec runs a program inside the machine to its end and returns what it printed on
// standard output, without the last newline. The error carries its standard error.
// Exit status 3 of gvlan is none: it worked, and says that something is wrong.
func (m *Machine) Exec(ctx context.Context, name string, args ...string) (string, error) {
	cmd := m.Command(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out := strings.TrimSuffix(stdout.String(), "\n")
	if err != nil && !(filepath.Base(name) == "gvlan" && cmd.ProcessState.ExitCode() == unhealthy) {
		said := strings.TrimSpace(stderr.String())
		return out, fmt.Errorf("run %s %s on %s: %w: %s", name, strings.Join(args, " "), m.Name, err, said)
	}
	return out, nil
}

// onlyChild gives the one child of a process: proc(5), CONFIG_PROC_CHILDREN.
func onlyChild(pid int) (int, error) {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, fmt.Errorf("list children: %w", err)
	}
	fields := strings.Fields(string(list))
	if len(fields) != 1 {
		return 0, fmt.Errorf("process %d has %d children, want 1", pid, len(fields))
	}
	return strconv.Atoi(fields[0])
}

// errGone says that a machine or process ended although it should be there.
var errGone = errors.New("it has ended")

// MustExec is Exec for a test that cannot go on without it.
func (m *Machine) MustExec(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := m.Exec(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Links names the links in the host's own namespace, lo included.
func (m *Machine) Links() ([]string, error) {
	links, err := m.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links of %s: %w", m.Name, err)
	}
	names := make([]string, len(links))
	for i, link := range links {
		names[i] = link.Attrs().Name
	}
	return names, nil
}

// Netlink gives the machine's netlink handle. It is closed with the lab.
func (m *Machine) Netlink() *netlink.Handle { return m.links }

// configure sets a link up and gives it addresses.
func (m *Machine) configure(link string, addrs ...netip.Prefix) error {
	dev, err := m.links.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s on %s: %w", link, m.Name, err)
	}
	if err := m.links.LinkSetUp(dev); err != nil {
		return fmt.Errorf("set %s of %s up: %w", link, m.Name, err)
	}
	for _, p := range addrs {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if err := m.links.AddrAdd(dev, addr); err != nil {
			return fmt.Errorf("give %s of %s the address %s: %w", link, m.Name, p, err)
		}
	}
	return nil
}

// Do runs f in the machine's network namespace: sockets that f opens itself, not by
// way of other goroutines, belong to the machine and go on doing so afterwards.
func (m *Machine) Do(f func() error) error {
	result := make(chan error, 1)
	go func() {
		// Not unlocked: the thread is in another namespace now and ends with the goroutine.
		runtime.LockOSThread()
		result <- func() error {
			ns, err := netns.GetFromPid(m.PID)
			if err != nil {
				return fmt.Errorf("open network namespace of %s: %w", m.Name, err)
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return fmt.Errorf("enter network namespace of %s: %w", m.Name, err)
			}
			return f()
		}()
	}()
	return <-result
}

// DialContext connects from the machine to an address in digits: a name would be
// looked up by other goroutines, outside the machine.
func (m *Machine) DialContext(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = m.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens inside the machine.
func (m *Machine) Listen(ctx context.Context, network, addr string) (l net.Listener, err error) {
	err = m.Do(func() error {
		l, err = (&net.ListenConfig{}).Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket listens for datagrams inside the machine.
func (m *Machine) ListenPacket(ctx context.Context, network, addr string) (c net.PacketConn, err error) {
	err = m.Do(func() error {
		c, err = (&net.ListenConfig{}).ListenPacket(ctx, network, addr)
		return err
	})
	return c, err
}

// Peer is a machine on the LAN that runs nothing of ours: what it reaches, anybody
// on the LAN reaches.
type Peer struct {
	*Machine
}

func (l *Lab) newPeer() (*Peer, error) {
	m, err := l.boot("peer", NoDocker)
	if err != nil {
		return nil, err
	}
	p := &Peer{Machine: m}
	return p, l.LAN.plug(m, peerNumber)
}

// AddAddress gives the machine a further address on its card, so that it is on the
// subnet of the containers it is to reach.
func (m *Machine) AddAddress(p netip.Prefix) error { return m.configure(nic, p) }

// Ping sends echo requests until the first answer, ten at most, one in 0.2 s.
func (m *Machine) Ping(ctx context.Context, addr netip.Addr) error {
	// -w bounds the wait, -c 1 ends it at the first answer: ping(8).
	out, err := m.Exec(ctx, "ping", "-n", "-i", "0.2", "-w", "2", "-c", "1", addr.String())
	if err != nil {
		return fmt.Errorf("ping %s: %w: %s", addr, err, strings.TrimSpace(out))
	}
	return nil
}
