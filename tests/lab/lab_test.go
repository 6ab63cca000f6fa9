package lab_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/tests/lab"
)

// patience bounds waits for events; no result is judged by it.
const patience = 2 * time.Minute

var releases = []lab.Release{lab.Docker20, lab.Docker28}

// onLAN gives a host a macvlan network of the built-in driver and a container on it.
func onLAN(t *testing.T, h *lab.Host, addr string) {
	t.Helper()
	h.MustDocker(t, "network", "create", "-d", "macvlan", "--subnet", "10.98.0.0/24",
		"--gateway", "10.98.0.254", "-o", "parent=eth1", "lan1")
	h.MustDocker(t, "run", "-d", "--network", "lan1", "--ip", addr, "--name", "web", "busybox", "sleep", "1000")
}

func TestContainersOfTwoHostsReachEachOther(t *testing.T) {
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			l := lab.New(t, lab.Options{Hosts: lab.Same(2, release)})
			onLAN(t, l.Hosts[0], "10.98.0.1")
			onLAN(t, l.Hosts[1], "10.98.0.2")
			l.Hosts[0].MustDocker(t, "exec", "web", "ping", "-c", "1", "-w", "5", "10.98.0.2")
			version := l.Hosts[0].MustDocker(t, "version", "--format", "{{.Client.Version}} {{.Server.Version}}")
			for v := range strings.FieldsSeq(version) {
				if !strings.HasPrefix(v, string(release)) {
					t.Errorf("docker version is %s, want %s", v, release)
				}
			}
		})
	}
}

func TestPartition(t *testing.T) {
	l := lab.New(t, lab.Options{Hosts: lab.Same(2, lab.NoDocker)})
	h1, h2 := l.Hosts[0], l.Hosts[1]
	tests := []struct {
		name  string
		apply func() error
		heard bool // whether h2 still hears what h1 says
		hears bool // whether h1 still hears what h2 says
	}{
		{"cut", func() error { return l.LAN.Cut(h1.Machine) }, false, false},
		{"mute", func() error { return l.LAN.Mute(t.Context(), h1.Machine) }, false, true},
		{"deaf", func() error { return l.LAN.Deafen(t.Context(), h1.Machine) }, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.apply(); err != nil {
				t.Fatal(err)
			}
			if got := arrives(t, h1, h2); got != tt.heard {
				t.Errorf("frame from h1 to h2 arrives: %t, want %t", got, tt.heard)
			}
			if got := arrives(t, h2, h1); got != tt.hears {
				t.Errorf("frame from h2 to h1 arrives: %t, want %t", got, tt.hears)
			}
			if err := l.LAN.Heal(t.Context(), h1.Machine); err != nil {
				t.Fatal(err)
			}
			if err := h1.Ping(t.Context(), h2.Addr4); err != nil {
				t.Errorf("after healing: %v", err)
			}
		})
	}
}

// arrives tells whether a broadcast datagram gets from one host to the other.
func arrives(t *testing.T, from, to *lab.Host) bool {
	t.Helper()
	in, err := to.ListenPacket(t.Context(), "udp4", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := from.ListenPacket(t.Context(), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	// Without carrier the kernel may refuse: then nothing arrives.
	_, _ = out.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.99.0.255:7000")))
	// Delivery over a veth is done within the sender's system call, or not at all.
	if err := in.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _, err = in.ReadFrom(make([]byte, 16))
	return err == nil
}

func TestEngineKillAndRestart(t *testing.T) {
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			hosts := lab.Same(1, release)
			hosts[0].LiveRestore = true
			hosts[0].Labels = []string{"macvlan=local"}
			l := lab.New(t, lab.Options{Hosts: hosts})
			h := l.Hosts[0]
			onLAN(t, h, "10.98.0.1")
			if err := l.Peer.AddAddress(netip.MustParsePrefix("10.98.0.200/24")); err != nil {
				t.Fatal(err)
			}
			before := h.Engine.Process().PID
			if err := h.Engine.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := l.Peer.Ping(t.Context(), netip.MustParseAddr("10.98.0.1")); err != nil {
				t.Errorf("container while dockerd is away: %v", err)
			}
			if err := h.Engine.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if h.Engine.Process().PID == before {
				t.Errorf("dockerd is still process %d", before)
			}
			got := h.MustDocker(t, "inspect", "-f", "{{.State.Running}}", "web")
			if got != "true" {
				t.Errorf("container is running: %s, want true", got)
			}
			if got := h.MustDocker(t, "info", "-f", "{{.Labels}}"); got != "[macvlan=local]" {
				t.Errorf("engine labels are %s, want [macvlan=local]", got)
			}
		})
	}
}

func TestHostCrashAndBoot(t *testing.T) {
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			l := lab.New(t, lab.Options{Hosts: lab.Same(1, release)})
			h := l.Hosts[0]
			onLAN(t, h, "10.98.0.1")
			if err := h.Crash(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := h.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
			links, err := h.Links()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"lo", "eth1"}, links); diff != "" {
				t.Errorf("links after boot (-want +got):\n%s", diff)
			}
			if err := h.Engine.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.MustDocker(t, "start", "web")
			h.MustDocker(t, "exec", "web", "true")
		})
	}
}

// traces are what a lab could leave outside its own namespaces.
func traces(t *testing.T) map[string]string {
	t.Helper()
	seen := map[string]string{}
	for what, line := range map[string]string{
		"links":      "ip -o link | cut -d: -f2",
		"namespaces": "ip netns list",
		"mounts":     "cut -d' ' -f5 /proc/self/mountinfo",
		"rules":      "nft list tables; iptables-save | grep ^-A; true",
		"groups":     "find /sys/fs/cgroup -type d -name 'gvlan-lab-*'",
	} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
		if err != nil {
			t.Fatalf("look at %s: %v", what, err)
		}
		seen[what] = string(out)
	}
	return seen
}

// populate starts a container on each host of another process's lab and gives the
// processes, seen from outside, of the machines and the containers.
func populate(t *testing.T, id string) []int {
	t.Helper()
	states, err := lab.States()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, s := range states {
		if s.ID != id {
			continue
		}
		for _, m := range s.Machines {
			pids = append(pids, m.PID)
			if m.Release == "" {
				continue
			}
			line := append(m.Enter(), "/usr/bin/docker", "run", "-d", "busybox", "sleep", "1000")
			if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("run container on %s: %v: %s", m.Name, err, out)
			}
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/gvlan-lab-" + id + "/*/*/cgroup.procs")
	if err != nil || len(groups) == 0 {
		t.Fatalf("find containers' control groups: %v, %v", groups, err)
	}
	for _, group := range groups {
		list, err := os.ReadFile(group)
		if err != nil {
			t.Fatal(err)
		}
		for field := range strings.FieldsSeq(string(list)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// running tells whether a process is there and more than a zombie, which waits for
// the machine's own init.
func running(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestKilledOwnerLeavesNothing(t *testing.T) {
	program, err := lab.Build(t.Context(), "gvlan/tests/lab/cmd/lab")
	if err != nil {
		t.Fatal(err)
	}
	before := traces(t)
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			owner := exec.CommandContext(ctx, program, "own", "-hosts", "2", "-engine", string(release), "-etcd")
			stdout, err := owner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			id := make([]byte, 32)
			n, err := stdout.Read(id)
			if err != nil {
				t.Fatalf("lab did not come up: %v", err)
			}
			pids := populate(t, strings.TrimSpace(string(id[:n])))
			// A paused machine does not notice that its owner is gone.
			if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := owner.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = owner.Wait()
			left, err := lab.Leftovers()
			if err != nil {
				t.Fatal(err)
			}
			if len(left) == 0 {
				t.Error("a killed owner left nothing: this test cannot fail")
			}
			if err := lab.Sweep(); err != nil {
				t.Fatal(err)
			}
			left, err = lab.Leftovers()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string(nil), left); diff != "" {
				t.Errorf("left after sweep (-want +got):\n%s", diff)
			}
			for _, pid := range pids {
				if running(pid) {
					t.Errorf("process %d still runs", pid)
				}
			}
		})
	}
	if diff := cmp.Diff(before, traces(t)); diff != "" {
		t.Errorf("outside the lab (-before +after):\n%s", diff)
	}
}
