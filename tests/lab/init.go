package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
)

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
