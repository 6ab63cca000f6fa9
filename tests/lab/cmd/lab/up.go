package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"gvlan/tests/lab"
)

// up starts a process that owns the lab and outlives this one, and reports when the
// lab is up. The owner ends, and the lab with it, at "lab down".
func up(ctx context.Context, args []string) error {
	if _, err := parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	owner := exec.Command(self, append([]string{"own"}, args...)...)
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdout, err := owner.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start owner: %w", err)
	}
	stderr, err := owner.StderrPipe()
	if err != nil {
		return fmt.Errorf("start owner: %w", err)
	}
	if err := owner.Start(); err != nil {
		return fmt.Errorf("start owner: %w", err)
	}
	// The owner is in a session of its own: a Ctrl-C until it is up is passed on.
	leave := context.AfterFunc(ctx, func() { _ = owner.Process.Signal(syscall.SIGTERM) })
	defer leave()
	id, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		said, _ := io.ReadAll(stderr)
		return fmt.Errorf("make lab: %s: %w", strings.TrimSpace(string(said)), owner.Wait())
	}
	return describe(strings.TrimSpace(id))
}

type upFlags struct {
	hosts  int
	engine string
	etcd   bool
}

func parse(args []string) (upFlags, error) {
	var f upFlags
	flags := flag.NewFlagSet("lab up", flag.ContinueOnError)
	flags.IntVar(&f.hosts, "hosts", 2, "number of hosts")
	flags.StringVar(&f.engine, "engine", string(lab.Docker28), `Docker release: "20.10", "26.1", "28.5", "given" (the one in the folder ENGINE names) or "none"`)
	flags.BoolVar(&f.etcd, "etcd", false, "run an etcd server on the LAN")
	if err := flags.Parse(args); err != nil {
		return f, err
	}
	if f.hosts < 1 || f.hosts > 200 {
		return f, fmt.Errorf("-hosts %d is not between 1 and 200", f.hosts)
	}
	return f, nil
}

// own makes a lab, prints its id, and keeps it until a signal comes.
func own(ctx context.Context, args []string) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	l, err := lab.Up(ctx, lab.Options{Hosts: lab.Same(f.hosts, lab.Release(f.engine))})
	if err != nil {
		return err
	}
	defer l.Close()
	if f.etcd {
		if _, err := l.NewEtcd(ctx, lab.EtcdOptions{}); err != nil {
			return err
		}
	}
	fmt.Println(l.ID)
	<-ctx.Done()
	return l.Close()
}
