package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// HostOptions says what a host is.
type HostOptions struct {
	// Release is the engine's release; "" means Docker28.
	Release Release
	// Labels are engine labels, as in "macvlan=local".
	Labels []string
	// LiveRestore keeps containers running while dockerd is away.
	LiveRestore bool
	// Flags are further flags of dockerd.
	Flags []string
	// Off leaves the engine stopped until Engine.Start.
	Off bool
}

// Host is a machine with an engine.
type Host struct {
	*Machine
	// Engine is the host's dockerd.
	Engine *Engine
}

func (l *Lab) newHost(ctx context.Context, number int, o HostOptions) (*Host, error) {
	if o.Release == "" {
		o.Release = Docker28
	}
	m, err := l.boot(fmt.Sprintf("h%d", number), o.Release)
	if err != nil {
		return nil, err
	}
	h := &Host{Machine: m}
	h.Engine = &Engine{
		Release: o.Release, Labels: o.Labels, LiveRestore: o.LiveRestore, Flags: o.Flags,
		machine: m,
	}
	if err := l.LAN.plug(m, number); err != nil {
		return nil, err
	}
	if o.Off || o.Release == NoDocker {
		return h, nil
	}
	return h, h.Engine.Start(ctx)
}

// Docker runs the docker command of the host's own release against the host's engine
// and returns what it printed on standard output.
func (h *Host) Docker(ctx context.Context, args ...string) (string, error) {
	return h.Exec(ctx, "docker", args...)
}

// killAll kills all processes of a machine but process 1, its only child (which holds
// the lifeline and is process 2) and itself, until there are no others.
const killAll = `
	while :; do
		left=
		for dir in /proc/[0-9]*; do
			pid=${dir#/proc/}
			[ "$pid" -gt 2 ] && [ "$pid" != $$ ] && kill -KILL "$pid" 2>/dev/null && left=1
		done
		[ "$left" ] || exit 0
	done`

// Crash ends every process of the host at once, as a power cut does: engine, agent,
// containers. Files outside /run stay.
func (h *Host) Crash(ctx context.Context) error {
	if _, err := h.Exec(ctx, "sh", "-c", killAll); err != nil {
		return fmt.Errorf("crash %s: %w", h.Name, err)
	}
	return h.Engine.crashed(ctx)
}

// Boot brings a crashed host back as after power-on: an empty /run, no sandboxes, no
// links but its card. Nothing is started.
func (h *Host) Boot(ctx context.Context) error {
	const clean = `umount -l /run && mount -t tmpfs -o mode=755 run /run && mkdir -p /run/docker/plugins /run/lock
		grep -o ' /var/lib/docker/[^ ]*' /proc/mounts | xargs -r umount -l
		iptables-save | grep -q . && { iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; }
		true`
	if _, err := h.Exec(ctx, "sh", "-c", clean); err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	links, err := h.links.LinkList()
	if err != nil {
		return fmt.Errorf("list links of %s: %w", h.Name, err)
	}
	for _, link := range links {
		if name := link.Attrs().Name; name == "lo" || name == nic || strings.HasPrefix(name, "ifb") {
			continue
		}
		// Some go with the link they hang from.
		if err := h.links.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("delete link %s of %s: %w", link.Attrs().Name, h.Name, err)
		}
	}
	return nil
}

// MustDocker is Docker for a test that cannot go on without it.
func (h *Host) MustDocker(t testing.TB, args ...string) string {
	t.Helper()
	return h.MustExec(t, "docker", args...)
}

// AgentOptions says how a host's agent is run.
type AgentOptions struct {
	// Binary is the program, statically linked, as Build gives it.
	Binary string
	// Args are its arguments.
	Args []string
	// Env is added to its environment.
	Env []string
	// Plugin names the socket it serves, /run/docker/plugins/Plugin.sock; "" is gvlan.
	Plugin string
}

// Agent is a daemon that serves Docker's plugin API on a host. It runs in the host's
// namespaces, so that dockerd finds its socket and it sees dockerd's sandboxes. Its
// place for data is /var/lib/gvlan inside the host.
type Agent struct {
	*Process
	// Socket is its plugin socket, seen from outside.
	Socket string

	host    *Host
	options AgentOptions
}

// StartAgent starts an agent and returns when its plugin socket takes connections.
func (h *Host) StartAgent(ctx context.Context, o AgentOptions) (*Agent, error) {
	if o.Plugin == "" {
		o.Plugin = "gvlan"
	}
	a := &Agent{host: h, options: o, Socket: h.Path("/run/docker/plugins/" + o.Plugin + ".sock")}
	if err := a.Start(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Start starts the agent again after it ended, with the same options.
func (a *Agent) Start(ctx context.Context) error {
	if err := a.Launch(); err != nil {
		return err
	}
	return a.Ready(ctx)
}

// Launch starts the agent without waiting for its socket.
func (a *Agent) Launch() error {
	binary, err := a.host.lab.Install(a.options.Binary)
	if err != nil {
		return err
	}
	a.Process, err = a.host.Machine.Start(a.options.Plugin, a.options.Env, binary, a.options.Args...)
	return err
}

// Ready returns when the agent's plugin socket takes connections.
func (a *Agent) Ready(ctx context.Context) error {
	return a.await(ctx, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", a.Socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Restart stops the agent in order and starts it again.
func (a *Agent) Restart(ctx context.Context) error {
	if err := a.Stop(ctx); err != nil {
		return err
	}
	return a.Start(ctx)
}

// copyProgram makes a hard link, or a copy on another file system. The copy gets its
// name when it is whole and closed: two hosts may install at once, and a file open
// for writing cannot be run.
func copyProgram(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.CreateTemp(filepath.Dir(to), ".copy")
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	err = errors.Join(err, dst.Chmod(0o755), dst.Close())
	if err != nil {
		return err
	}
	return os.Rename(dst.Name(), to)
}

//go:embed init.sh
var initScript string

// joinGroup makes a control group of the machine's own in version 2's tree, wherever
// this computer has that, and goes into it before its namespace is made.
const joinGroup = `set -e
	tree=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
	[ "$tree" ] || { echo "no control groups of version 2 are mounted" >&2; exit 1; }
	group=$tree/$1
	shift
	mkdir -p "$group"
	echo $$ >"$group/cgroup.procs"
	exec "$@"`

// Booted is a host with an init of its own as process 1. Its files are the host's, but
// /proc, /sys, /dev, /run, /tmp and its control groups are its own and no folder is
// shared with this computer; it is on the LAN with the host's card. Its Engine answers,
// but is started and ended by the init.
type Booted struct {
	*Host
	process *Process // unshare(1), the init's parent
}

// BootInit runs an init as process 1 of namespaces nested in the host's, and returns when
// they are set up and the init is about to run. The host's own engine must be off.
func (h *Host) BootInit(ctx context.Context, init ...string) (*Booted, error) {
	m := h.Machine
	line := []string{
		"-c", joinGroup, "init", groupPrefix + m.lab.ID + "/" + m.Name,
		"unshare", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "sh", "-c", initScript, "init", m.lab.ID,
	}
	process, err := m.Start("init", nil, "sh", append(line, init...)...)
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", h.Name, err)
	}
	inner := &Machine{Name: m.Name, Addr4: m.Addr4, Addr6: m.Addr6, lab: m.lab, release: m.release, links: m.links}
	err = process.await(ctx, func(context.Context) error {
		pid, err := onlyChild(process.PID)
		if err != nil {
			return err
		}
		inner.PID = pid
		_, err = os.Stat(inner.Path("/run/apart"))
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("boot %s: %w", h.Name, err), process.Kill())
	}
	engine := &Engine{Release: m.release, machine: inner, process: process}
	return &Booted{Host: &Host{Machine: inner, Engine: engine}, process: process}, nil
}

// BootSystemd is BootInit with the systemd of the host's release, and returns when it
// has started everything that its default target wants. Its journal is in the lab's logs.
func (h *Host) BootSystemd(ctx context.Context) (*Booted, error) {
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	b, err := h.BootInit(ctx, "/lib/systemd/systemd")
	if err != nil {
		return nil, err
	}
	var state string
	err = b.process.await(ctx, func(ctx context.Context) error {
		// It fails in every state but running.
		state, err = b.Exec(ctx, "systemctl", "is-system-running")
		if state == "degraded" {
			return nil
		}
		return err
	})
	if err == nil && state == "degraded" {
		failed, listErr := b.Exec(ctx, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
		err = errors.Join(fmt.Errorf("failed units: %s", failed), listErr)
	}
	if err != nil {
		err = fmt.Errorf("boot systemd on %s: %w", h.Name, err)
	}
	_, journalErr := b.Start("journal", nil, "journalctl", "--follow", "--lines=all", "--output=short-monotonic")
	return b, errors.Join(err, journalErr)
}

// Off ends everything that runs under the init at once, as a power cut does.
func (b *Booted) Off() error { return b.process.Kill() }
