package docker_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"gvlan/tests/lab"
)

// namesOnHost: the host itself asks the agent, with dig, through resolv.conf
// as `gvlan dns setup` says, and through gvlan's own commands.
func namesOnHost(n *named) {
	n.dualNetwork("office", 7)
	h1, h2 := n.Hosts[0], n.Hosts[1]
	far := n.start(h2, "office", 7, "remote", "--expose", "80")
	near := n.start(h1, "office", 7, "local")
	const full = "remote.office.gvlan.internal"
	for _, over := range []string{"+notcp", "+tcp"} {
		n.dig(h1, far.v4, over, "-p", "5354", "@127.0.0.1", full)
		n.dig(h1, far.v6, over, "-p", "5354", "@127.0.0.1", full, "AAAA")
		n.dig(h1, full+".", over, "-p", "5354", "@127.0.0.1", "-x", far.v4)
		n.dig(h1, "0 0 80 "+full+".", over, "@127.0.0.66", "_80._tcp."+full, "SRV")
	}
	if out, err := digOn(h1, "@127.0.0.66", external); err != nil || !strings.Contains(out, "status: REFUSED") {
		n.t.Errorf("dig %s: %v\n%s\nwant REFUSED: no --dns-upstream is set", external, err, out)
	}
	n.setUp(h1, far.v4, full)
	n.commands(h1, far, near)
}

// dig waits until dig +short prints this.
func (n *named) dig(h *lab.Host, want string, args ...string) {
	n.t.Helper()
	eventually(n.t, "dig "+strings.Join(args, " "), func() error {
		out, err := digOn(h, append([]string{"+short", "+tries=1"}, args...)...)
		return wantText(out, err, want)
	})
}

// digOn runs this machine's dig on the host's network: hosts have none.
func digOn(h *lab.Host, args ...string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"--net=" + fmt.Sprintf("/proc/%d/ns/net", h.PID), "dig"}, args...)...).CombinedOutput()
	return string(out), err
}

// setUp makes the host itself ask as `gvlan dns setup resolv.conf` prints it.
func (n *named) setUp(h *lab.Host, addr, name string) {
	n.t.Helper()
	line := h.MustExec(n.t, n.binary, "dns", "setup", "resolv.conf")
	if line != "nameserver 127.0.0.66" {
		n.t.Errorf("dns setup resolv.conf prints %q", line)
	}
	before := must(os.ReadFile(h.Path("/etc/resolv.conf")))(n.t)
	defer func() {
		if err := h.WriteFile("/etc/resolv.conf", before); err != nil {
			n.t.Error(err)
		}
	}()
	if err := h.WriteFile("/etc/resolv.conf", []byte(line+"\n")); err != nil {
		n.t.Fatal(err)
	}
	out, err := h.Exec(n.t.Context(), "getent", "ahostsv4", name)
	if err := wantText(out, err, addr); err != nil {
		n.t.Errorf("the host looks up %s: %v", name, err)
	}
	out, err = h.Exec(n.t.Context(), "getent", "hosts", addr)
	if err := wantText(out, err, name); err != nil {
		n.t.Errorf("the host looks up %s: %v", addr, err)
	}
	h.MustExec(n.t, n.binary, "dns", "setup", "--write")
	if got, want := h.MustExec(n.t, "cat", "/etc/systemd/resolved.conf.d/gvlan.conf"), h.MustExec(n.t, n.binary, "dns", "setup", "resolved"); got != want {
		n.t.Errorf("dns setup --write wrote\n%s\nwant\n%s", got, want)
	}
	for _, kind := range []string{"resolved", "dnsmasq", "coredns", "unbound"} {
		out, err := h.Exec(n.t.Context(), n.binary, "dns", "setup", kind)
		for _, want := range []string{"127.0.0.66", "gvlan.internal", "7.160.10.in-addr.arpa"} {
			if err := wantText(out, err, want); err != nil {
				n.t.Errorf("dns setup %s: %v", kind, err)
			}
		}
	}
}

// commands: `gvlan dns ls` and `gvlan dns lookup`.
func (n *named) commands(h *lab.Host, far, near member) {
	n.t.Helper()
	for _, args := range [][]string{
		{"dns", "ls"},
		{"dns", "ls", "--from", "local"},
		{"dns", "lookup", "--from", "local", "remote"},
		{"dns", "lookup", "remote.office.gvlan.internal"},
	} {
		out, err := h.Exec(n.t.Context(), n.binary, args...)
		if err := wantText(out, err, far.v4); err != nil {
			n.t.Errorf("gvlan %s: %v", strings.Join(args, " "), err)
		}
	}
	if out, err := h.Exec(n.t.Context(), n.binary, "dns", "lookup", "remote"); err == nil || !strings.Contains(err.Error(), "no name of gvlan's") {
		n.t.Errorf("gvlan dns lookup remote on the host: %q, %v; want it to know full names only", out, err)
	}
	near.gets("remote", "A", far.v4)
	out, err := h.Exec(n.t.Context(), n.binary, "dns", "counts")
	if err := wantText(out, err, "office"); err != nil {
		n.t.Errorf("gvlan dns counts: %v", err)
	}
}

// wantText is nil when a command went well and printed this.
func wantText(out string, err error, want string) error {
	if err == nil && !strings.Contains(out, want) {
		err = errText{out, want}
	}
	return err
}

// errText is the wrong output of a command.
type errText struct{ got, want string }

func (e errText) Error() string { return "it printed\n" + e.got + "\nwant " + e.want }
