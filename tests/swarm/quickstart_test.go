package swarm_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"

	"gvlan/tests/lab"
	"gvlan/tests/typed"
)

// quickStart types README's quick start for swarm as it stands there, on nodes whose
// plugin and its data were removed, with cards that README names and an etcd where it
// says that one is.
func quickStart(c *cluster) {
	lines := must(typed.Lines("../../README.md", "Quick start: swarm"))(c.t)
	onEach, once := c.quickLines(lines)
	c.asAtHome()
	c.eachHost(func(h *lab.Host) error {
		for _, line := range onEach {
			if err := c.types(h, line); err != nil {
				return err
			}
		}
		return nil
	})
	c.ask = c.Hosts[0]
	for _, h := range c.Hosts {
		c.hasPlugin(h)
	}
	for _, line := range once {
		if err := c.types(c.ask, line); err != nil {
			c.t.Fatal(err)
		}
	}
	pool, ran := netip.MustParsePrefix("192.168.1.128/25"), map[*lab.Host]bool{}
	tasks := c.tasksOf("web")
	for _, x := range tasks {
		ran[x.host] = true
		if !pool.Contains(x.addr) {
			c.t.Errorf("%s has %s, want one of %s", x.name, x.addr, pool)
		}
		c.reaches(tasks[0], x.addr.String())
		c.reaches(x, "web")
	}
	if len(tasks) != 3 || len(ran) != 3 {
		c.t.Errorf("%d tasks run on %d nodes, want 3 on 3", len(tasks), len(ran))
	}
}

// quickLines are the lines for every node and those for one, each of which has to be
// what this test expects at its place.
func (c *cluster) quickLines(lines []string) (onEach, once []string) {
	c.t.Helper()
	want := []string{
		"tar -xzf gvlan-plugin_*_amd64.tar.gz", "docker plugin create " + alias, "docker plugin set " + alias, "docker plugin enable " + alias,
		"docker network create ", "docker service create ",
	}
	if len(lines) != len(want) {
		c.t.Fatalf("README's quick start has %d lines, want %d: %q", len(lines), len(want), lines)
	}
	for i, begin := range want {
		if !strings.HasPrefix(lines[i], begin) {
			c.t.Fatalf("line %d of README's quick start is %q, want %q first: type it on the nodes that it is for", i+1, lines[i], begin)
		}
	}
	return lines[:4], lines[4:]
}

// asAtHome makes the nodes what README's are, and gives each the plugin's archive.
func (c *cluster) asAtHome() {
	c.t.Helper()
	archive := c.archive()
	c.LAN.MustExec(c.t, "ip", "addr", "add", "192.168.1.5/24", "dev", "br0")
	// The lab's second etcd is at .249.
	must(c.NewEtcd(c.t.Context(), lab.EtcdOptions{Flags: []string{"--listen-client-urls", "http://10.99.0.249:2379,http://192.168.1.5:2379"}}))(c.t)
	cards := []string{"eth0", "eth0", "enp3s0"}
	c.eachHost(func(h *lab.Host) error {
		number := int(h.Addr4.As4()[3])
		_, err := h.Exec(c.t.Context(), "sh", "-ec", fmt.Sprintf(`docker plugin disable -f %[1]s; docker plugin rm -f %[1]s; rm -rf /var/lib/gvlan-swarm /root/gvlan-plugin
			card=$(ip -o -4 addr show to %[2]s | awk '{print $2}')
			ip link set $card down; ip link set $card name %[3]s; ip link set %[3]s up; ip route replace default via %[4]s
			ip addr add 192.168.1.%[5]d/24 dev %[3]s; cp %[6]s /root/`,
			alias, h.Addr4, cards[number-1], c.LAN.Gateway, 9+number, archive))
		return err
	})
}

// archive packs the plugin as `make release` does.
func (c *cluster) archive() string {
	c.t.Helper()
	const folder = "gvlan-plugin"
	file := filepath.Join(c.Dir, folder+"_0_amd64.tar.gz")
	for _, args := range [][]string{
		{"../../deploy/plugin/bundle.sh", program, filepath.Join(c.Dir, folder)},
		{"tar", "-C", c.Dir, "-I", "gzip -1", "-cf", file, folder},
	} {
		if out, err := exec.CommandContext(c.t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			c.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return file
}

// types has a node's shell run a line in root's folder.
func (c *cluster) types(h *lab.Host, line string) error {
	if out, err := h.Exec(c.t.Context(), "sh", "-c", "cd /root && "+line); err != nil {
		return fmt.Errorf("README's %q: %w\n%s", line, err, out)
	}
	return nil
}
