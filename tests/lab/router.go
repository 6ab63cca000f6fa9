package lab

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"
)

// routerLimit is when a routing daemon that starts counts as hanging, on whatever
// machine, and in UML.
const routerLimit = 5 * time.Minute

// FRR is Debian's frr on a machine: zebra, which sets the kernel's routes, and bgpd.
type FRR struct {
	machine     *Machine
	zebra, bgpd *Process
}

// frrDir has FRR's configuration, sockets and process ids inside the machine, whose
// /run is its own.
const frrDir = "/run/frr"

// StartFRR starts FRR with a configuration of bgpd, in FRR's own words, and returns
// when both daemons answer. The machine's kernel forwards from then on.
func StartFRR(ctx context.Context, m *Machine, config string) (*FRR, error) {
	f := &FRR{machine: m}
	// The daemons become frr, and what they read and write has to be that user's.
	const prepare = `echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding &&
		: >` + frrDir + `/zebra.conf && chown -R frr:frr ` + frrDir + ` && chmod -R u=rwX,go=rX ` + frrDir
	err := m.WriteFile(path.Join(frrDir, "bgpd.conf"), []byte(config))
	if err == nil {
		_, err = m.Exec(ctx, "sh", "-c", prepare)
	}
	if err == nil {
		f.zebra, err = f.start(ctx, "zebra", "show version")
	}
	if err == nil {
		f.bgpd, err = f.start(ctx, "bgpd", "show bgp summary")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start FRR on %s: %w", m.Name, err), f.Kill())
	}
	return f, nil
}

func (f *FRR) start(ctx context.Context, daemon, probe string) (*Process, error) {
	p, err := f.machine.Start(daemon, nil, path.Join("/usr/lib/frr", daemon), "-u", "frr", "-g", "frr",
		"--vty_socket", frrDir, "-z", path.Join(frrDir, "zserv.api"), "-i", path.Join(frrDir, daemon+".pid"),
		"-f", path.Join(frrDir, daemon+".conf"), "-P", "0", "--log", "stdout")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, routerLimit)
	defer cancel()
	return p, p.await(ctx, func(ctx context.Context) error {
		_, err := f.ask(ctx, daemon, probe)
		return err
	})
}

// Show asks bgpd and gives its answer, as in "show bgp summary"; a daemon asked to
// "configure terminal" is given the further commands in turn.
func (f *FRR) Show(ctx context.Context, commands ...string) (string, error) {
	return f.ask(ctx, "bgpd", commands...)
}

func (f *FRR) ask(ctx context.Context, daemon string, commands ...string) (string, error) {
	line := []string{"--vty_socket", frrDir, "-d", daemon}
	for _, c := range commands {
		line = append(line, "-c", c)
	}
	return f.machine.Exec(ctx, "vtysh", line...)
}

// Kill ends both daemons at once. What zebra set stays in the kernel.
func (f *FRR) Kill() error {
	var errs []error
	for _, p := range []*Process{f.bgpd, f.zebra} {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(errs...)
}

// BIRD is Debian's bird2 on a machine.
type BIRD struct {
	*Process

	machine *Machine
}

const (
	birdConfig = "/run/bird.conf"
	birdSocket = "/run/bird.ctl"
)

// StartBIRD starts BIRD with a configuration and returns when it answers.
func StartBIRD(ctx context.Context, m *Machine, config string) (*BIRD, error) {
	if err := m.WriteFile(birdConfig, []byte(config)); err != nil {
		return nil, err
	}
	p, err := m.Start("bird", nil, "bird", "-f", "-c", birdConfig, "-s", birdSocket)
	if err != nil {
		return nil, err
	}
	b := &BIRD{Process: p, machine: m}
	ctx, cancel := context.WithTimeout(ctx, routerLimit)
	defer cancel()
	err = b.await(ctx, func(ctx context.Context) error {
		_, err := b.Show(ctx, "show status")
		return err
	})
	if err != nil {
		return nil, errors.Join(err, b.Kill())
	}
	return b, nil
}

// Show asks BIRD a command of birdc's, as in "show protocols all", in one argument.
func (b *BIRD) Show(ctx context.Context, command string) (string, error) {
	return b.machine.Exec(ctx, "birdc", "-s", birdSocket, command)
}
