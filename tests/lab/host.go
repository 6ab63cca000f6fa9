package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
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
