package lab_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// TestMachineHasItsOwnTmp: what empties /tmp inside, as systemd does, leaves this
// computer's alone; a file in the lab's directory has one path inside and outside.
func TestMachineHasItsOwnTmp(t *testing.T) {
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			outside := filepath.Join(t.TempDir(), "outside")
			if err := os.WriteFile(outside, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			l := lab.New(t, lab.Options{Hosts: lab.Same(1, release)})
			shared := filepath.Join(l.Dir, "shared")
			if err := os.WriteFile(shared, []byte("one path"), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := l.Hosts[0].Exec(t.Context(), "cat", shared)
			if err != nil || got != "one path" {
				t.Errorf("inside, %s has %q, %v; want what was written outside", shared, got, err)
			}
			list, err := l.Hosts[0].Exec(t.Context(), "find", "/tmp", "-mindepth", "1", "-maxdepth", "2")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(filepath.Dir(l.Dir)+"\n"+l.Dir, list); diff != "" {
				t.Errorf("/tmp inside (-want +got):\n%s", diff)
			}
			if _, err := l.Hosts[0].Exec(t.Context(), "rm", "-f", outside); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(outside); err != nil {
				t.Errorf("this computer's file, removed inside: %v, want it there", err)
			}
		})
	}
}

// TestTheLANKeepsItsMAC: whoever knows the gateway, or an etcd on it, goes on
// reaching it whatever is plugged in.
func TestTheLANKeepsItsMAC(t *testing.T) {
	l := lab.New(t, lab.Options{})
	mac := func() string { return l.LAN.MustExec(t, "cat", "/sys/class/net/br0/address") }
	before := mac()
	l.LAN.MustExec(t, "ip", "link", "add", "low", "address", "02:00:00:00:00:01", "master", "br0", "up", "type", "veth")
	if after := mac(); after != before {
		t.Errorf("br0 had %s and has %s, want it kept", before, after)
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

// arrives reports whether a broadcast datagram gets from one host to the other.
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

// TestGivenEngine: its programs stand before those of the root, and a folder
// without an engine is refused before anything is made.
func TestGivenEngine(t *testing.T) {
	asFolder, asText := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(asFolder, "dockerd"), 0o755), os.WriteFile(filepath.Join(asText, "dockerd"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "dockerd"), []byte("#!/bin/sh\necho given\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(folder) // where "." has an engine, and is none of make's folders
	for _, wrong := range []string{t.TempDir(), asFolder, asText, ".", filepath.Join(folder, "none")} {
		t.Setenv("ENGINE", wrong)
		l, err := lab.Up(t.Context(), lab.Options{Hosts: []lab.HostOptions{{Release: lab.DockerGiven, Off: true}}})
		if err == nil {
			err = l.Close()
			t.Errorf("ENGINE=%s is taken (%v), want it refused", wrong, err)
		} else if !strings.HasPrefix(err.Error(), "ENGINE="+wrong+" is ") {
			t.Errorf("ENGINE=%s: %v, want an error that begins with it", wrong, err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "licences"), 0o755); err != nil { // no program: left out
		t.Fatal(err)
	}
	t.Setenv("ENGINE", folder)
	if got := lab.Engines(lab.Docker20, lab.Docker28); !slices.Equal(got, []lab.Release{lab.DockerGiven}) {
		t.Errorf("the engines are %v, want the given one alone", got)
	}
	l := lab.New(t, lab.Options{Hosts: []lab.HostOptions{{Release: lab.DockerGiven, Off: true}}})
	if said := l.Hosts[0].MustExec(t, "dockerd", "--version"); said != "given" {
		t.Errorf("dockerd says %q, want the given one", said)
	}
}
