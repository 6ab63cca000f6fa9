package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Cluster is an etcd and hosts that use it.
type Cluster struct {
	Dir   string
	Etcd  *Etcd
	Hosts []*Host
	Swarm *Swarm // nil outside a swarm
}

// Size says how large a cluster is.
type Size struct {
	Hosts, Members int
	Swarm          bool // the hosts are a swarm's
}

// Start starts a cluster in a folder, with an agent and an etcd that were built.
func Start(ctx context.Context, dir, agent, etcd string, size Size) (*Cluster, error) {
	c := &Cluster{Dir: dir}
	var err error
	if err := os.MkdirAll(filepath.Join(dir, "etcd"), 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", filepath.Join(dir, "etcd"), "tmpfs", 0, ""); err != nil {
		return nil, err
	}
	if c.Etcd, err = StartEtcd(ctx, etcd, filepath.Join(dir, "etcd"), size.Members); err != nil {
		return c, err
	}
	ending := ""
	if size.Swarm {
		c.Swarm, ending = &Swarm{Subnet: "10.83.0.0/27", tasks: map[netip.Addr]string{}}, ".swarm"
	}
	for i := range size.Hosts {
		h, err := NewHost(agent, dir, fmt.Sprintf("h%d%s", i+1, ending), c.Etcd, c.Swarm)
		if err != nil {
			return c, err
		}
		c.Hosts = append(c.Hosts, h)
	}
	return c, nil
}

// Close ends all processes.
func (c *Cluster) Close() error {
	var failed error
	for _, h := range c.Hosts {
		failed = errors.Join(failed, h.Close())
	}
	if c.Etcd != nil {
		c.Etcd.Kill()
	}
	return errors.Join(failed, unix.Unmount(filepath.Join(c.Dir, "etcd"), unix.MNT_DETACH))
}

// Until asks until it is so, or the context ends.
func Until(ctx context.Context, so func() error) error {
	for {
		err := so()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
