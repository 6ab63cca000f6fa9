package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Options says what a lab is made of.
type Options struct {
	// Hosts are the hosts in order; the first is h1 with address 10.99.0.1.
	Hosts []HostOptions
}

// Same gives the options of n hosts with one release of Docker.
func Same(n int, release Release) []HostOptions {
	hosts := make([]HostOptions, n)
	for i := range hosts {
		hosts[i].Release = release
	}
	return hosts
}

// Lab is a LAN with hosts on it, owned by this process.
type Lab struct {
	// ID tells this lab from others on the machine; it is part of the names of its
	// directory and control groups.
	ID string
	// Dir is the lab's directory, below /tmp and seen under the same path by every
	// machine. It goes with the lab.
	Dir string
	// LAN is the switch.
	LAN *LAN
	// Peer is on the LAN and runs nothing of ours: it pings and probes.
	Peer *Peer
	// Hosts are the hosts in order.
	Hosts []*Host

	closing sync.Once
	logs    atomic.Int64 // log files made so far

	mu     sync.Mutex
	booted []*Machine
	etcds  int // etcd servers made so far
}

// Up sweeps what dead labs left, makes a lab, and returns when every engine answers.
func Up(ctx context.Context, o Options) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("make a lab: %w", os.ErrPermission)
	}
	if err := Sweep(); err != nil {
		return nil, fmt.Errorf("sweep dead labs: %w", err)
	}
	l, err := register()
	if err != nil {
		return nil, fmt.Errorf("register the lab: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.LAN, err = l.newLAN(); err != nil {
		return nil, err
	}
	l.Hosts = make([]*Host, len(o.Hosts))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		l.Peer, err = l.newPeer()
		return err
	})
	for i, ho := range o.Hosts {
		group.Go(func() (err error) {
			l.Hosts[i], err = l.newHost(ctx, i+1, ho)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l, l.writeState()
}

// Close ends every process of the lab at once and removes all it made. It does not
// stop engines or agents in order: a test that wants that does it before.
func (l *Lab) Close() error {
	var err error
	l.closing.Do(func() {
		var gone sync.WaitGroup
		for _, m := range l.booted {
			gone.Go(m.shutdown)
		}
		gone.Wait()
		err = remove(l.ID)
	})
	return err
}

// add registers a machine that was booted.
func (l *Lab) add(m *Machine) error {
	start, err := startTime(m.PID)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m.start = start
	l.booted = append(l.booted, m)
	return l.writeState()
}

// shared lists the directories that machines see under this computer's path: the lab's
// own, and the one that programs built with -cover write to.
func (l *Lab) shared() []string {
	dirs := []string{l.Dir}
	if dir, ok := os.LookupEnv("GOCOVERDIR"); ok {
		dirs = append(dirs, dir)
	}
	return dirs
}

// env is the environment of everything that runs in the lab. The lab's id in it is
// how a process is recognised as the lab's.
func (l *Lab) env() []string {
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		marker + "=" + l.ID,
	}
	if dir, ok := os.LookupEnv("GOCOVERDIR"); ok {
		env = append(env, "GOCOVERDIR="+dir)
	}
	return env
}
