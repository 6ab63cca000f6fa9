package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gvlan/tests/lab"
	"gvlan/tests/plugin"
)

// agent is the whole program as a process, without an engine, and what speaks to
// it as Docker does.
type agent struct {
	process *exec.Cmd
	plugin  *plugin.Client
	pool    string
}

// agent starts one with a folder of its own and keys of its own.
func (e *etcd) agent(ctx context.Context, name string, args ...string) (*agent, error) {
	if e.program == "" {
		var err error
		if e.program, err = lab.Build(ctx, "gvlan/cmd/gvlan", "-trimpath", "-ldflags=-s -w"); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(e.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	args = append([]string{
		"agent", "--node-name", name, "--data-dir", filepath.Join(dir, "data"), "--plugin-socket-dir", dir,
		"--status-socket", filepath.Join(dir, "status.sock"), "--docker", "unix://" + filepath.Join(dir, "no-engine.sock"),
		"--etcd-endpoints", e.endpoint, "--advertise", "127.0.0.1", "--gossip", "off", "--dns", "off", "--log-level", "error",
	}, args...)
	a := &agent{process: exec.Command(e.program, args...)}
	a.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.process.Start(); err != nil {
		return nil, err
	}
	a.plugin = plugin.New(filepath.Join(dir, "gvlan.sock"), clients)
	return a, nil
}

// close ends the agent in order.
func (a *agent) close() error {
	a.plugin.Close()
	if err := a.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return a.process.Wait()
}

// empty is a request that does nothing.
func (a *agent) empty(ctx context.Context) error {
	return a.plugin.Call(ctx, "NetworkDriver.EndpointOperInfo", map[string]string{"EndpointID": "none"}, nil)
}

// open opens a pool as soon as the agent answers.
func (a *agent) open(ctx context.Context, subnet string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var got struct{ PoolID string }
		err := a.plugin.Call(ctx, "IpamDriver.RequestPool", map[string]any{"AddressSpace": "gvlan-local", "Pool": subnet}, &got)
		if err == nil {
			a.pool = got.PoolID
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("open a pool: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// ask asks for an address.
func (a *agent) ask(ctx context.Context) (string, error) {
	var got struct{ Address string }
	if err := a.plugin.Call(ctx, "IpamDriver.RequestAddress", map[string]string{"PoolID": a.pool}, &got); err != nil {
		return "", err
	}
	host, _, err := net.ParseCIDR(got.Address)
	return host.String(), err
}

// serves waits for an address of a pool that was opened before.
func (a *agent) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := a.ask(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// memoryMiB reads a field of proc(5)'s status, VmRSS or VmHWM.
func (a *agent) memoryMiB(field string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, field+": %f kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("the agent's status has no %s", field)
}
