package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
	"gvlan/tests/plugin"
)

const members = 3

// cluster is hosts that keep their store themselves.
type cluster struct {
	*lab.Lab
	binary  string
	agents  []*lab.Agent
	plugins []*addresses     // of the agents
	store   *clientv3.Client // the first host's member
	joining []string         // the command by which others join
}

// begin starts all agents, the first of which begins a cluster.
func begin(ctx context.Context) (_ *cluster, err error) {
	c := new(cluster)
	if c.binary, err = lab.Build(ctx, "gvlan/cmd/gvlan", "-trimpath", "-ldflags=-s -w"); err != nil {
		return nil, err
	}
	if c.Lab, err = lab.Up(ctx, lab.Options{Hosts: lab.Same(members, lab.NoDocker)}); err != nil {
		return nil, err
	}
	if err = c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context) error {
	var err error
	if c.binary, err = c.Install(c.binary); err != nil {
		return err
	}
	for _, h := range c.Hosts {
		agent, err := h.StartAgent(ctx, lab.AgentOptions{Binary: c.binary, Args: []string{"agent", "--node-name", h.Name, "--log-level", "warn"}})
		if err != nil {
			return err
		}
		c.agents = append(c.agents, agent)
		c.plugins = append(c.plugins, &addresses{plugin: plugin.New(h.Path("/run/docker/plugins/gvlan.sock"), 1)})
	}
	h1 := c.Hosts[0]
	err = until(ctx, func() error {
		said, err := h1.Exec(ctx, c.binary, "init")
		for line := range strings.Lines(said) {
			if words := strings.Fields(line); len(words) == 4 && words[1] == "join" {
				c.joining = words[1:]
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("begin the cluster: %w", err)
	}
	c.store, err = clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + h1.Path("/var/lib/gvlan/etcd/client.sock")}})
	return err
}

// Close ends the cluster.
func (c *cluster) Close() error {
	var err error
	if c.store != nil {
		err = c.store.Close()
	}
	return errors.Join(err, c.Lab.Close())
}

// put is one bare put on the first host's member.
func (c *cluster) put(ctx context.Context, key string) error {
	_, err := c.store.Put(ctx, key, strings.Repeat("x", 200))
	return err
}

// grow has the other hosts join.
func (c *cluster) grow(ctx context.Context) error {
	group, inGroup := errgroup.WithContext(ctx)
	for _, h := range c.Hosts[1:] {
		group.Go(func() error {
			_, err := h.Exec(inGroup, c.binary, c.joining...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := c.whole(ctx)
	return err
}

// whole waits until all members vote and answer, and returns who leads.
func (c *cluster) whole(ctx context.Context) (leader int, err error) {
	err = until(ctx, func() error {
		out, err := c.Hosts[0].Exec(ctx, c.binary, "store", "ls", "--json")
		if err != nil {
			return err
		}
		var view struct {
			Members []struct{ Node, Role, Why string }
			AsOf    time.Time
		}
		if err := json.Unmarshal([]byte(out), &view); err != nil {
			return err
		}
		if !view.AsOf.IsZero() {
			return errors.New("the store does not answer")
		}
		voters := 0
		leader = -1
		for _, m := range view.Members {
			if m.Why == "" && m.Role != "learner" {
				voters++
			}
			if m.Role == "leader" {
				leader = c.number(m.Node)
			}
		}
		if voters != members || leader < 0 {
			return fmt.Errorf("members are %+v", view.Members)
		}
		return nil
	})
	return leader, err
}

func (c *cluster) number(node string) int {
	for i, h := range c.Hosts {
		if h.Name == node {
			return i
		}
	}
	return -1
}

// failovers kills the agent whose member leads, over and over, and times on
// each of the others how long it is until it gives an address.
func (c *cluster) failovers(ctx context.Context, kills int) (all []time.Duration, err error) {
	for range kills {
		leader, err := c.whole(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range c.plugins { // each has its pool, and gives
			if err := until(ctx, func() error { return p.address(ctx) }); err != nil {
				return nil, err
			}
		}
		took := make([]time.Duration, members)
		began := time.Now()
		if err := c.agents[leader].Kill(); err != nil {
			return nil, err
		}
		group, inGroup := errgroup.WithContext(ctx)
		for i, p := range c.plugins {
			if i == leader {
				continue
			}
			group.Go(func() error {
				err := until(inGroup, func() error { return p.address(inGroup) })
				took[i] = time.Since(began)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		for i := range took {
			if i != leader {
				all = append(all, took[i])
			}
		}
		if err := c.agents[leader].Start(ctx); err != nil {
			return nil, err
		}
		c.plugins[leader].forget()
	}
	return all, nil
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
		case <-time.After(10 * time.Millisecond):
		}
	}
}
