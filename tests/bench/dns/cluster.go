package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gvlan/tests/lab"
)

// cluster is a lab whose hosts are a cluster with a store of its own, which the
// first one begins and the others join, with one network on all of them.
type cluster struct {
	*lab.Lab
	agents []*lab.Agent
}

// newCluster makes as many hosts, of both engines in turns.
func newCluster(ctx context.Context, hosts int) (_ *cluster, err error) {
	binary, err := lab.Build(ctx, "gvlan/cmd/gvlan")
	if err != nil {
		return nil, err
	}
	c := new(cluster)
	options := make([]lab.HostOptions, hosts)
	for i := range options {
		options[i].Release = []lab.Release{lab.Docker28, lab.Docker20}[i%2]
	}
	if c.Lab, err = lab.Up(ctx, lab.Options{Hosts: options}); err != nil {
		return nil, err
	}
	if err = c.form(ctx, binary); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// form starts the agents and makes the network everywhere.
func (c *cluster) form(ctx context.Context, binary string) error {
	args := []string{"--etcd-listen", "0.0.0.0:2379"}
	for i, h := range c.Hosts {
		a, err := h.StartAgent(ctx, lab.AgentOptions{Binary: binary, Args: append([]string{"agent", "--node-name", h.Name}, args...)})
		if err != nil {
			return err
		}
		c.agents = append(c.agents, a)
		if i == 0 {
			if args, err = c.joining(ctx, binary); err != nil {
				return err
			}
		}
	}
	err := until(ctx, func() error { // it refuses as long as etcd has not answered
		_, err := c.Hosts[0].Docker(ctx, "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan",
			"--subnet", "10.70.0.0/16", "-o", "parent=eth1", network)
		return err
	})
	if err != nil {
		return err
	}
	for _, h := range c.Hosts {
		if err := until(ctx, func() error { _, err := h.Docker(ctx, "network", "inspect", network); return err }); err != nil {
			return fmt.Errorf("wait for the network on %s: %w", h.Name, err)
		}
	}
	return nil
}

// joining is what the other hosts join the first one with.
func (c *cluster) joining(ctx context.Context, binary string) (args []string, err error) {
	first := c.Hosts[0]
	program, err := c.Install(binary)
	if err != nil {
		return nil, err
	}
	var token string
	err = until(ctx, func() (err error) { // once its store answers
		token, err = first.Exec(ctx, program, "token", "show", "-q")
		return err
	})
	return []string{"--join", first.Addr4.String(), "--token", token}, err
}

// until repeats an attempt until it succeeds or ctx ends.
func until(ctx context.Context, attempt func() error) error {
	for {
		err := attempt()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
