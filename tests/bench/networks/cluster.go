package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"gvlan/tests/lab"
)

// cluster is a lab whose hosts share one etcd.
type cluster struct {
	*lab.Lab
	etcd   *lab.Etcd
	binary string
}

func up(ctx context.Context, release lab.Release, hosts int) (_ *cluster, err error) {
	binary, err := lab.Build(ctx, "gvlan/cmd/gvlan")
	if err != nil {
		return nil, err
	}
	l, err := lab.Up(ctx, lab.Options{Hosts: lab.Same(hosts, release)})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	c := &cluster{Lab: l, binary: filepath.Join(l.Dir, "gvlan")} // where every machine sees it
	if err := copyProgram(binary, c.binary); err != nil {
		return c, err
	}
	c.etcd, err = l.NewEtcd(ctx, lab.EtcdOptions{})
	return c, err
}

func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// agent starts a host's agent.
func (c *cluster) agent(ctx context.Context, h *lab.Host) (*lab.Agent, error) {
	return h.StartAgent(ctx, lab.AgentOptions{
		Binary: c.binary, Args: []string{"agent", "--node-name", h.Name, "--etcd-endpoints", c.etcd.Endpoint()},
	})
}

// status is what matters here of `gvlan status --json`.
type status struct {
	Networks []struct{ Name, State string }
	Etcd     struct{ Trusted bool }
}

// bound counts the networks of a host that stand for a definition.
func (s status) bound() (n int) {
	for _, network := range s.Networks {
		if network.State == "replica" || network.State == "committed" {
			n++
		}
	}
	return n
}

// await asks a host's agent until its status is as wanted.
func (c *cluster) await(ctx context.Context, h *lab.Host, wanted func(status) bool) error {
	for ctx.Err() == nil {
		out, err := h.Exec(ctx, c.binary, "status", "--json")
		var s status
		if err == nil && json.Unmarshal([]byte(out), &s) == nil && wanted(s) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err()
}

func trusted(s status) bool { return s.Etcd.Trusted }
