package docker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gvlan/tests/lab"
	"gvlan/tests/typed"
)

// deb is the package of this tree, which `make packages` builds once a run.
var deb = sync.OnceValues(func() (string, error) {
	to := filepath.Join(filepath.Dir(program), "packages")
	build := exec.Command("make", "-C", "../..", "packages")
	build.Env = append(os.Environ(), "ARCHS=amd64", "OUT="+to)
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make packages: %w\n%s", err, said)
	}
	made, err := filepath.Glob(filepath.Join(to, "*.deb"))
	if err != nil || len(made) != 1 {
		return "", fmt.Errorf("make packages made %q (%w), want one deb", made, err)
	}
	return made[0], nil
})

// TestQuickStart types README's quick start for plain Docker as it stands there, on
// two hosts that have a systemd and Docker's own unit and have never seen gvlan: one
// with each engine. What is printed is all that is done, but for a pause where a
// person has one.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	lines := must(typed.Lines("../../README.md", "Quick start: plain Docker"))(t)
	if len(lines) != 6 {
		t.Fatalf("README's quick start has %d lines, want 6: %q", len(lines), lines)
	}
	for i, begin := range []string{"apt install ", "gvlan init", "gvlan join 192.168.1.10 gvlan1-...", "docker network create ", "docker run -d ", "docker run --rm "} {
		if !strings.HasPrefix(lines[i], begin) {
			t.Fatalf("line %d of README's quick start is %q, want %q first: type it on the hosts that it is for", i+1, lines[i], begin)
		}
	}
	q := &quickStart{newHomeLAN(t, lab.Engines(lab.Docker28, lab.Docker20)...)}
	q.install(lines[0])
	join := q.joinLine(q.types(q.Hosts[0], lines[1]))
	if address, _, _ := strings.Cut(lines[2], " gvlan1-..."); !strings.HasPrefix(join, address+" gvlan1-") {
		t.Errorf("gvlan init says %q, README joins with %q", join, lines[2])
	}
	for _, h := range q.Hosts[1:] {
		q.types(h, join)
	}
	q.types(q.Hosts[0], lines[3])
	q.everywhere()
	q.pings(q.Hosts[0], q.Hosts[1], lines[4], lines[5])
	q.Hosts[0].MustDocker(t, "rm", "-f", "web")
	q.pings(q.Hosts[1], q.Hosts[0], lines[4], lines[5])
}

// quickStart are hosts that somebody follows README on.
type quickStart struct{ *cluster }

// newHomeLAN boots hosts with a systemd, and nothing of gvlan, on a LAN as README has
// it: 192.168.1.0/24, the router at .1, the hosts at .10 and after, their cards eth0.
func newHomeLAN(t *testing.T, releases ...lab.Release) *cluster {
	t.Helper()
	var hosts []lab.HostOptions
	for _, r := range releases {
		hosts = append(hosts, lab.HostOptions{Release: r, Off: true})
	}
	c := newBareCluster(t, options{hosts: hosts})
	c.binary = "/usr/bin/gvlan"
	c.LAN.MustExec(t, "ip", "addr", "add", "192.168.1.1/24", "dev", "br0")
	var booted sync.WaitGroup
	for i, h := range c.Hosts {
		h.MustExec(t, "sh", "-ec", fmt.Sprintf(`ip link set eth1 down; ip addr flush dev eth1; ip link set eth1 name eth0; ip link set eth0 up
			ip addr add 192.168.1.%d/24 dev eth0; ip route add default via 192.168.1.1
			rm -f /usr/sbin/policy-rc.d`, 10+i)) // which keeps services from starting while the lab's roots are made
		booted.Go(func() {
			b, err := h.BootSystemd(t.Context())
			if err == nil {
				err = b.Engine.Ready(t.Context())
			}
			if err != nil {
				t.Error(err)
				return
			}
			c.Hosts[i] = b.Host
		})
	}
	booted.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return c
}

// types has a host's shell run a line in root's folder, and gives what it says.
func (q *quickStart) types(h *lab.Host, line string) string {
	q.t.Helper()
	ctx, cancel := context.WithTimeout(q.t.Context(), patience)
	defer cancel()
	out, err := h.Exec(ctx, "sh", "-c", "cd /root && "+line)
	if err != nil {
		q.t.Fatalf("README's %q: %v\n%s", line, err, out)
	}
	return out
}

// install types a line on every host that has the package in its folder.
func (q *quickStart) install(line string) {
	q.t.Helper()
	file := must(deb())(q.t)
	data := must(os.ReadFile(file))(q.t)
	for _, h := range q.Hosts {
		must(0, h.WriteFile("/root/"+filepath.Base(file), data))(q.t)
		said := q.types(h, line)
		for _, next := range []string{"gvlan init", "gvlan join"} {
			if !strings.Contains(said, next) {
				q.t.Errorf("on %s %q does not say what comes next (%s):\n%s", h.Name, line, next, said)
			}
		}
	}
	for _, h := range q.Hosts {
		q.waitTrusted(h) // a person has gone to the next host meanwhile
	}
}

// joinLine is what gvlan init says others are to type.
func (q *quickStart) joinLine(said string) string {
	q.t.Helper()
	return "gvlan " + strings.Join(q.joinWords(said), " ")
}

// everywhere waits as long as a person needs to get to another host: until the network
// is there.
func (q *quickStart) everywhere() {
	q.t.Helper()
	for _, h := range q.Hosts {
		q.waitNetwork(h, "lan")
	}
}

// pings types the last two lines, on two hosts.
func (q *quickStart) pings(one, other *lab.Host, run, ping string) {
	q.t.Helper()
	q.types(one, run)
	eventually(q.t, "the name to be known on "+other.Name, func() error {
		out, err := other.Exec(q.t.Context(), q.binary, "dns", "ls", "-q")
		if err == nil && !slices.ContainsFunc(strings.Fields(out), func(name string) bool { return strings.HasPrefix(name, "web") }) {
			err = fmt.Errorf("it knows %q", out)
		}
		return err
	})
	if out := q.types(other, ping); !strings.Contains(out, "1 packets received") || !strings.Contains(out, "192.168.1.1") {
		q.t.Errorf("%q on %s says\n%s", ping, other.Name, out)
	}
}
