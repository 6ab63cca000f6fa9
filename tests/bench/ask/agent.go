package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"gvlan/tests/lab"
)

// agent is the whole program as a process, without an engine, with the store that
// it brings along.
type agent struct {
	dir     string
	program string
	process *exec.Cmd
	said    bytes.Buffer // its log
	store   *clientv3.Client
}

// begin starts one in a folder of its own, and waits until its store answers.
func begin(ctx context.Context) (_ *agent, err error) {
	a := &agent{}
	if a.dir, err = os.MkdirTemp("", "gvlan-ask"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.program, err = lab.Build(ctx, "gvlan/cmd/gvlan", "-trimpath", "-ldflags=-s -w"); err != nil {
		return nil, err
	}
	a.process = exec.Command(a.program, "agent", "--node-name", "id0", "--data-dir", filepath.Join(a.dir, "data"), "--plugin-socket-dir", a.dir,
		"--status-socket", a.socket(), "--docker", "unix://"+filepath.Join(a.dir, "no-engine.sock"),
		"--advertise", "127.0.0.1", "--gossip", "off", "--dns", "off", "--log-level", "error")
	a.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	a.process.Stderr = &a.said
	if err := a.process.Start(); err != nil {
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

func (a *agent) socket() string { return filepath.Join(a.dir, "status.sock") }

// until tries again until it goes well, for a minute at most.
func (a *agent) until(ctx context.Context, try func(context.Context) error) error {
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

// types runs a command to its end, and returns what it computed itself.
func (a *agent) types(ctx context.Context, command string) (time.Duration, error) {
	_, own, err := a.answer(ctx, command)
	return own, err
}

// answer is what a command prints. One that finds nothing, or something that is
// wrong, answers as well.
func (a *agent) answer(ctx context.Context, command string) (said string, own time.Duration, err error) {
	args := append(strings.Fields(command), "--status-socket", a.socket())
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

// computed is how long the agent has computed so far, by proc(5)'s schedstat; 0
// where the kernel does not count it.
func (a *agent) computed() (sum time.Duration) {
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

// memoryMiB is what of the agent is in memory, by proc(5)'s status.
func (a *agent) memoryMiB() (float64, error) {
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

// close ends the agent and removes what it wrote.
func (a *agent) close() error {
	var err error
	if a.store != nil {
		err = a.store.Close()
	}
	if a.process != nil && a.process.Process != nil {
		err = errors.Join(err, a.process.Process.Signal(syscall.SIGTERM), a.process.Wait())
		if err != nil {
			err = fmt.Errorf("%w; the agent said: %s", err, a.said.String())
		}
	}
	return errors.Join(err, os.RemoveAll(a.dir))
}
