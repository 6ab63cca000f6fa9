// Package crowd is an agent in whose store many hosts with many containers have
// written, for benchmarks and tests of what it answers.
package crowd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"gvlan/tests/lab"
)

// Agent is the whole program as a process, without an engine, with the store that
// it brings along.
type Agent struct {
	dir     string
	program string
	process *exec.Cmd
	ended   chan error   // how it ended
	said    bytes.Buffer // its log
	store   *clientv3.Client
}

// Begin starts one in a folder of its own, and waits until its store answers.
func Begin(ctx context.Context) (_ *Agent, err error) {
	a := &Agent{}
	if a.dir, err = os.MkdirTemp("", "gvlan-crowd"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.program, err = lab.Build(ctx, "gvlan/cmd/gvlan", "-trimpath", "-ldflags=-s -w"); err != nil {
		return nil, err
	}
	a.process = exec.Command(a.program, "agent", "--node-name", "id0", "--data-dir", filepath.Join(a.dir, "data"), "--plugin-socket-dir", a.dir,
		"--status-socket", a.Socket(), "--docker", "unix://"+filepath.Join(a.dir, "no-engine.sock"),
		"--advertise", "127.0.0.1", "--gossip", "off", "--dns", "off", "--log-level", "error")
	a.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	a.process.Stderr = &a.said
	if err := a.start(); err != nil {
		return nil, err
	}
	a.store, err = clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(a.dir, "data", "etcd", "client.sock")}, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return a, a.until(ctx, func(ctx context.Context) error {
		_, err := a.store.Get(ctx, "/gvlan/v1/meta")
		return err
	})
}

// start starts the process from a thread that lasts as long as it does: the kernel
// kills it when that thread ends (prctl(2), PR_SET_PDEATHSIG), and threads end that
// have been in network namespaces.
func (a *Agent) start() error {
	started := make(chan error)
	a.ended = make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := a.process.Start()
		started <- err
		if err == nil {
			a.ended <- a.process.Wait()
		}
	}()
	return <-started
}

// Socket is its status socket.
func (a *Agent) Socket() string { return filepath.Join(a.dir, "status.sock") }

// until tries again until it goes well, for a minute at most.
func (a *Agent) until(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		one, end := context.WithTimeout(ctx, 5*time.Second)
		err := try(one)
		end()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Types runs a command to its end, and returns what it computed itself.
func (a *Agent) Types(ctx context.Context, command string) (time.Duration, error) {
	_, own, err := a.answer(ctx, command)
	return own, err
}

// answer is what a command prints. One that finds nothing, or something that is
// wrong, answers as well.
func (a *Agent) answer(ctx context.Context, command string) (said string, own time.Duration, err error) {
	args := append(strings.Fields(command), "--status-socket", a.Socket())
	var out, stderr bytes.Buffer
	c := exec.CommandContext(ctx, a.program, args...)
	c.Stdout, c.Stderr = &out, &stderr
	err = c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && (exit.ExitCode() == 3 || strings.Contains(command, "nobody")) {
		err = nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("gvlan %s: %w: %s", command, err, stderr.String())
	}
	return out.String(), c.ProcessState.UserTime() + c.ProcessState.SystemTime(), nil
}

// Computed is how long the agent has computed so far, by proc(5)'s schedstat; 0
// where the kernel does not count it.
func (a *Agent) Computed() (sum time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", a.process.Process.Pid))
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}

// MemoryMiB is what of the agent is in memory, by proc(5)'s status.
func (a *Agent) MemoryMiB() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, errors.New("the agent's status has no VmRSS")
}

// Close ends the agent and removes what it wrote.
func (a *Agent) Close() error {
	var err error
	if a.store != nil {
		err = a.store.Close()
	}
	if a.process != nil && a.process.Process != nil {
		err = errors.Join(err, a.process.Process.Signal(syscall.SIGTERM), <-a.ended)
		if err != nil {
			err = fmt.Errorf("%w; the agent said: %s", err, a.said.String())
		}
	}
	return errors.Join(err, os.RemoveAll(a.dir))
}
