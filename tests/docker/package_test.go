package docker_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/tests/lab"
)

// TestPackage: the package's life on a host with Docker and systemd, under a container
// that runs on throughout.
func TestPackage(t *testing.T) {
	t.Parallel()
	p := newPackageHost(t)
	bare := p.ofHost()
	p.says(p.apt("install", p.old), "gvlan init", "gvlan join")
	p.runsAgent()
	p.MustDocker(t, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.77.0.0/24", "-o", "parent=eth1", "lan")
	p.MustDocker(t, sleeper("lan", "web")...)
	if err := p.lab.Peer.AddAddress(netip.MustParsePrefix("10.77.0.250/24")); err != nil {
		t.Fatal(err)
	}
	before := p.container()
	p.MustExec(t, "sh", "-c", "echo '# an admin was here' >>/etc/gvlan/gvlan.toml")

	p.refuses(p.newer)
	for _, to := range []string{p.newer, p.old} {
		agent := p.agentPID()
		p.apt("install", "--allow-downgrades", to)
		if p.agentPID() == agent {
			t.Errorf("%s is installed, and the agent is the same process %s", to, agent)
		}
		p.runsAgent()
		p.keeps(before)
		p.says(p.MustExec(t, "tail", "-n1", "/etc/gvlan/gvlan.toml"), "# an admin was here")
		p.MustDocker(t, "run", "--rm", "--network", "lan", "busybox", "true")
	}

	p.apt("remove", "gvlan")
	p.gone("/usr/bin/gvlan", "/lib/systemd/system/gvlan.service", "/run/gvlan/gvlan.sock", "/run/docker/plugins/gvlan.sock")
	p.keeps(before)
	if diff := cmp.Diff(bare, p.ofHost()); diff != "" {
		t.Errorf("the removal left in the host's namespace (-before +after):\n%s", diff)
	}
	p.apt("install", p.newer)
	p.runsAgent()
	p.keeps(before)
	p.MustDocker(t, "rm", "-f", "web")
	p.MustDocker(t, "network", "rm", "lan")

	p.apt("purge", "gvlan")
	p.gone("/var/lib/gvlan", "/etc/gvlan", "/run/gvlan")
	if left := p.MustExec(t, "find", "/etc", "/usr/lib/systemd", "/lib/systemd", "/var/lib/systemd", "/usr/bin", "/run", "-name", "*gvlan*"); left != "" {
		t.Errorf("the purge left %s", left)
	}
	if diff := cmp.Diff(bare, p.ofHost()); diff != "" {
		t.Errorf("the purge left in the host's namespace (-before +after):\n%s", diff)
	}
}

// packageHost is a host with an engine, a systemd and two versions of the package.
type packageHost struct {
	*lab.Booted
	t          *testing.T
	lab        *lab.Lab
	old, newer string // files on the host
}

func newPackageHost(t *testing.T) *packageHost {
	l := lab.New(t, lab.Options{Hosts: []lab.HostOptions{{Release: lab.Docker28, Off: true}}})
	p := &packageHost{t: t, lab: l, old: "/root/old.deb", newer: "/root/newer.deb"}
	p.Booted = must(l.Hosts[0].BootSystemd(t.Context()))(t)
	if err := p.Engine.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The lab's folder of its own is a mount, which no purge removes; and its roots deny
	// services to packages.
	p.MustExec(t, "sh", "-c", "umount /var/lib/gvlan && rm -f /usr/sbin/policy-rc.d")
	made := must(deb())(t)
	for to, from := range map[string]string{p.old: made, p.newer: newerPackage(t, made)} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.WriteFile(to, data); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// refuses installs a version that does not take this host's settings: the agent that
// runs goes on, and the admin is told why. Then the version before is back.
func (p *packageHost) refuses(newer string) {
	p.t.Helper()
	agent := p.agentPID()
	p.MustExec(p.t, "sh", "-c", `printf 'GVLAN_JOIN=192.0.2.1\nGVLAN_TOKEN_FILE=/etc/gvlan/token\n' >/etc/default/gvlan
		echo x >/etc/gvlan/token && chmod 644 /etc/gvlan/token`)
	p.says(p.apt("install", newer), "goes on", "chmod 600 /etc/gvlan/token", "systemctl restart gvlan")
	p.apt("install", "--allow-downgrades", p.old)
	if got := p.agentPID(); got != agent {
		p.t.Errorf("the agent is process %s, want %s still", got, agent)
	}
	p.runsAgent()
	p.MustExec(p.t, "rm", "/etc/default/gvlan", "/etc/gvlan/token")
}

// newerPackage is the same package as a later version.
func newerPackage(t *testing.T, made string) string {
	folder := t.TempDir()
	content, control := filepath.Join(folder, "content"), filepath.Join(folder, "content/DEBIAN/control")
	run := func(args ...string) {
		if out, err := exec.CommandContext(t.Context(), "dpkg-deb", args...).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb %v: %v\n%s", args, err, out)
		}
	}
	run("--raw-extract", made, content)
	text, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("\nVersion: "), []byte("\nVersion: 99."), 1)
	if err := os.WriteFile(control, text, 0o644); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(folder, "newer.deb")
	run("--root-owner-group", "-Znone", "--build", content, newer)
	return newer
}

// apt runs apt-get and returns what it says.
func (p *packageHost) apt(args ...string) string {
	p.t.Helper()
	return p.MustExec(p.t, "sh", append([]string{"-c", `exec 2>&1; DEBIAN_FRONTEND=noninteractive apt-get -y "$@"`, "apt"}, args...)...)
}

func (p *packageHost) says(out string, words ...string) {
	p.t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			p.t.Errorf("no %q in:\n%s", w, out)
		}
	}
}

// gone checks that there are no such files.
func (p *packageHost) gone(paths ...string) {
	p.t.Helper()
	for _, path := range paths {
		if out, err := p.Exec(p.t.Context(), "ls", "-ld", path); err == nil {
			p.t.Errorf("there still is %s", out)
		}
	}
}

func (p *packageHost) agentPID() string {
	p.t.Helper()
	return p.MustExec(p.t, "systemctl", "show", "--value", "--property", "MainPID", "gvlan")
}

// runsAgent: the unit is enabled and active, and the agent answers.
func (p *packageHost) runsAgent() {
	p.t.Helper()
	p.says(p.MustExec(p.t, "systemctl", "is-enabled", "gvlan"), "enabled")
	p.says(p.MustExec(p.t, "systemctl", "is-active", "gvlan"), "active")
	eventually(p.t, "the agent to answer", func() error {
		_, err := p.Exec(p.t.Context(), "gvlan", "network", "ls")
		return err
	})
}

// running is what must not change of a container while it runs.
type running struct {
	ID, Started, Address, Links string
}

func (p *packageHost) container() (r running) {
	p.t.Helper()
	var all []struct {
		ID              string `json:"Id"`
		State           struct{ StartedAt string }
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	if err := json.Unmarshal([]byte(p.MustDocker(p.t, "inspect", "web")), &all); err != nil || len(all) != 1 {
		p.t.Fatalf("inspect web: %v, %v", all, err)
	}
	c := all[0]
	return running{c.ID, c.State.StartedAt, c.NetworkSettings.Networks["lan"].IPAddress, p.MustDocker(p.t, "exec", "web", "ip", "-4", "addr")}
}

// keeps: the container is what it was and reaches the LAN.
func (p *packageHost) keeps(before running) {
	p.t.Helper()
	if diff := cmp.Diff(before, p.container()); diff != "" {
		p.t.Errorf("the container (-before +now):\n%s", diff)
	}
	if err := p.lab.Peer.Ping(p.t.Context(), netip.MustParseAddr(before.Address)); err != nil {
		p.t.Errorf("the LAN does not reach %s: %v", before.Address, err)
	}
}

// ofHost are the links, rules, routes and listeners of the host's namespace.
func (p *packageHost) ofHost() []string {
	p.t.Helper()
	const look = `ip -br link | cut -d' ' -f1 | sort; ip rule; ip -6 rule
		ip -4 route show table all | sort; ip neigh show proxy
		iptables-save | grep '^[-:]' | sed 's/ \[.*//'; ip6tables-save | grep '^[-:]' | sed 's/ \[.*//'
		grep -c : /proc/net/packet || true
		cut -c1-60 /proc/net/tcp /proc/net/udp | awk '{print $2, $4}' | grep ' \(0A\|07\)$' | sort`
	return strings.Split(p.MustExec(p.t, "sh", "-c", look), "\n")
}
