package docker_test

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// TestExamples types each example of each --help as it stands there, on three
// hosts that become a cluster by them and end as one.
func TestExamples(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(3, lab.Docker28)})
	for i, h := range c.Hosts {
		h.MustExec(t, "ln", "-s", c.binary, "/usr/bin/gvlan")
		h.MustExec(t, "ip", "addr", "add", fmt.Sprintf("192.168.1.%d/24", 10+i), "dev", "eth1")
		h.MustExec(t, "ip", "link", "add", "eth0", "type", "bridge") // dummies are not in every kernel
		h.MustExec(t, "ip", "link", "set", "eth0", "up")
		h.MustExec(t, "mkdir", "-p", "/root", "/mnt/backups", "/etc/gvlan")
	}
	book := &examples{c: c, left: c.examples()}
	book.begin()
	book.atWork()
	book.rest()
	book.end()
	for _, line := range book.left {
		t.Errorf("%q was not typed", line)
	}
}

// said is what a command printed, and how it ended.
type said struct {
	out, err string
	status   int
}

// typed has a host's shell run a line.
func (c *cluster) typed(h *lab.Host, line string) (s said) {
	c.t.Helper()
	var out, stderr strings.Builder
	command := h.Command(c.t.Context(), "sh", "-c", line)
	command.Stdout, command.Stderr = &out, &stderr
	err := command.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		s.status, err = ended.ExitCode(), nil
	}
	if err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
	s.out, s.err = out.String(), stderr.String()
	return s
}

// commands are all of gvlan's, as they are typed.
func (c *cluster) commands() (all []string) {
	for line := range strings.Lines(c.gvlan(c.Hosts[0], "config", "reference", "--commands")) {
		if _, rest, is := strings.Cut(line, "| `gvlan "); is {
			synopsis, _, _ := strings.Cut(rest, "`")
			words := strings.Fields(synopsis)
			end := slices.IndexFunc(words, func(w string) bool { return strings.ToLower(w) != w || strings.ContainsAny(w, `[|`) })
			if end < 0 {
				end = len(words)
			}
			all = append(all, strings.Join(words[:end], " "))
		}
	}
	return all
}

// examples are the lines of each command's help.
func (c *cluster) examples() (all []string) {
	for _, command := range c.commands() {
		help := c.gvlan(c.Hosts[0], append(strings.Fields(command), "--help")...)
		_, shown, _ := strings.Cut(help, "\nExamples:\n")
		for line := range strings.Lines(shown) {
			line = strings.TrimSpace(line)
			if line == "" {
				break
			}
			line, _, _ = strings.Cut(line, "  # ")
			all = append(all, strings.TrimSpace(line))
		}
	}
	if len(all) < 60 {
		c.t.Errorf("%d examples, want at least 60", len(all))
	}
	return all
}

// examples are those that were not typed yet.
type examples struct {
	c    *cluster
	left []string
}

// types has a host type an example, which ends so, and says this.
func (e *examples) types(on int, line string, status int, words ...string) {
	e.c.t.Helper()
	at := slices.Index(e.left, line)
	if at < 0 {
		e.c.t.Errorf("no help has the example %q", line)
	} else {
		e.left = slices.Delete(e.left, at, at+1)
	}
	e.run(on, line, line, status, words...)
}

func (e *examples) run(on int, line, shell string, status int, words ...string) {
	e.c.t.Helper()
	began := time.Now()
	s := e.c.typed(e.c.Hosts[on], shell)
	e.c.t.Logf("%-7s %s", time.Since(began).Round(time.Millisecond), line)
	if s.status == unhealthy && status == 0 && slices.ContainsFunc([]string{"status", "doctor", "audit"}, func(verdict string) bool { return strings.HasPrefix(line, "gvlan "+verdict) }) {
		return // a VLAN and a network that was not moved over yet are no parents of any host
	}
	if s.status != status || !hasAll(s.out+s.err, words) {
		e.c.t.Errorf("%s: status %d, want %d, and %q in\n%s%s", line, s.status, status, words, s.out, s.err)
	}
}

// begin makes the hosts a cluster.
func (e *examples) begin() {
	c := e.c
	e.types(0, "gvlan init --listen 192.168.1.10", 0, "gvlan join 192.168.1.10 gvlan1-")
	e.types(0, "gvlan init", 1, "of a cluster already")
	e.types(0, "gvlan token show -q | install -m 600 /dev/stdin /root/token", 0)
	token := c.gvlan(c.Hosts[0], "token", "show", "-q")
	for _, h := range c.Hosts[1:] {
		must(0, h.WriteSecret("/root/token", []byte(token+"\n")))(c.t)
	}
	e.types(1, "gvlan join 192.168.1.10 --token-file /root/token", 0, "this host is of the cluster of 192.168.1.10")
	e.types(1, "gvlan join 192.168.1.10 gvlan1-...", 1, "gvlan: ")
	const imports = "gvlan join 192.168.1.10 --import --token-file -"
	if at := slices.Index(e.left, imports); at >= 0 {
		e.left = slices.Delete(e.left, at, at+1)
	}
	e.run(2, imports, imports+" < /root/token", 0, "this host is of the cluster of 192.168.1.10")
	c.waitMembers(c.Hosts, 3, 0)
}

// atWork gives the commands something to show.
func (e *examples) atWork() {
	c := e.c
	h1, h2, h3 := c.Hosts[0], c.Hosts[1], c.Hosts[2]
	e.types(0, "gvlan network create --subnet 192.168.1.0/24 --gateway 192.168.1.1 --ip-range 192.168.1.128/25 -o parent=eth0 lan", 0, "h3 ")
	e.types(0, `gvlan network create --subnet 10.65.0.0/16 -o parent="bond0, eth0" --ipam-opt cooldown=5m rack`, 0, "h1 ")
	e.types(0, "gvlan network create --subnet 172.30.0.0/24 -o scope=local -o parent=eth0 here", 0, "h1 ")
	c.run(h1, "lan", "web", "--label", "gvlan.srv.http=80", "--ip", "192.168.1.20", "--mac-address", "02:42:c0:a8:01:14")
	c.run(h2, "lan", "db")
	c.run(h3, "lan", "far")
	h1.MustDocker(c.t, "network", "create", "-d", "macvlan", "--subnet", "10.184.0.0/24", "-o", "parent=eth1", "old")
	e.types(0, "gvlan network import old", 0, "docker network")
	e.types(0, "gvlan network import old > move.sh", 1, "called old already")
	eventually(c.t, "names to be known", func() error {
		for _, name := range []string{"web", "db"} {
			if s := c.typed(h1, "gvlan dns lookup "+name+" --from db"); s.status != 0 {
				return errors.New(s.err)
			}
		}
		return nil
	})
	e.types(0, "gvlan lease show --json fd00::20", 1, "has no lease")
	e.types(0, "gvlan conflict clear 192.168.1.129", 1, "is in no conflict")
	e.types(0, "gvlan backup /root/gvlan-today.tar", 0, "/root/gvlan-today.tar: ")
}

// rest types what is left and changes little.
func (e *examples) rest() {
	last := []string{"gvlan network rm", "gvlan node evict", "gvlan restore", "gvlan recover", "gvlan store recover", "gvlan leave", "gvlan agent", "gvlan lease release", "gvlan cleanup"}
	for _, line := range slices.Clone(e.left) {
		if slices.ContainsFunc(last, func(l string) bool { return strings.HasPrefix(line, l) }) {
			continue
		}
		if strings.Contains(line, "--follow") || strings.HasPrefix(line, "gvlan web") {
			e.left = slices.DeleteFunc(e.left, func(l string) bool { return l == line })
			e.run(0, line, "timeout 2 "+line, timedOut)
			continue
		}
		if line == "gvlan support --redact" { // a file of its own is called by the second
			e.c.Hosts[0].MustExec(e.c.t, "sh", "-c", "rm -f gvlan-support-*")
		}
		e.types(0, line, 0)
	}
}

// unhealthy is how a command ends that found something wrong.
const unhealthy = 3

// timedOut is how timeout(1) ends where the command went on.
const timedOut = 124

// end takes apart what there is.
func (e *examples) end() {
	c := e.c
	h2 := c.Hosts[1]
	e.types(0, "gvlan agent", 1, "in use by another gvlan agent")
	e.types(0, "gvlan agent --etcd-endpoints https://etcd.example:2379 --etcd-ca /etc/gvlan/ca.pem", 1, "in use by another gvlan agent")
	e.types(0, "gvlan lease release 192.168.1.20", 1, "web")
	e.types(0, "gvlan lease release --force 192.168.1.20", 1, "web")
	e.types(0, "gvlan store recover", 1, "gvlan: ")
	e.types(0, "gvlan store recover --wait 5m", 1, "gvlan: ")
	e.types(0, "gvlan network rm lan", 1, "lan is used by web on h1")
	e.types(0, "gvlan restore /root/gvlan-today.tar", 1, "nothing was done: add --yes")
	e.types(0, "gvlan restore --yes /root/gvlan-today.tar", 0, "the store is there again")
	e.types(0, "gvlan recover --wait 5m", 0, "is trusted again")
	e.types(0, "gvlan recover", 1, "nothing to recover")
	e.types(0, "gvlan recover --without h3", 1, "nothing to recover")
	if err := c.agents[2].Kill(); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "h3 to be away", func() error {
		if n := c.nodes(c.Hosts[0])["h3"]; n.State != down {
			return fmt.Errorf("it is %s", n.State)
		}
		return nil
	})
	e.run(0, "gvlan cleanup", "gvlan cleanup", 1, "systemctl stop gvlan first")
	e.types(2, "gvlan cleanup", 0, "removed socket")
	e.types(0, "gvlan node evict h3", 0, "h3 is evicted")
	e.types(0, "gvlan node evict --force h3", 0, "h3 is evicted")
	e.types(0, "gvlan network rm --force lan", 0, "lan")
	h2.MustDocker(c.t, "rm", "-f", "db")
	e.types(1, "gvlan leave", 0, "this host is out of the cluster")
	e.types(1, "gvlan leave --wait 5m", 1, "this host is of no cluster")
}
