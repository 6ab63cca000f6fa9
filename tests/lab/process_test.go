package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gvlan/tests/lab"
)

func TestProcessEnds(t *testing.T) {
	l := lab.New(t, lab.Options{Hosts: lab.Same(1, lab.NoDocker)})
	tests := []struct {
		name string
		do   func(*lab.Process) error
		want syscall.Signal
	}{
		{"killed", func(p *lab.Process) error { return p.Kill() }, syscall.SIGKILL},
		{"stopped", func(p *lab.Process) error { return p.Stop(t.Context()) }, syscall.SIGTERM},
		{"killed while paused", func(p *lab.Process) error { return errors.Join(pause(p), p.Kill()) }, syscall.SIGKILL},
		{"stopped after a pause", func(p *lab.Process) error {
			return errors.Join(pause(p), p.Resume(), p.Stop(t.Context()))
		}, syscall.SIGTERM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := l.Hosts[0].Start("sleep", nil, "sleep", "1000")
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.do(p); err != nil {
				t.Fatal(err)
			}
			if p.Running() {
				t.Error("process still runs")
			}
			var exit *exec.ExitError
			if !errors.As(p.Err(), &exit) || exit.Sys().(syscall.WaitStatus).Signal() != tt.want {
				t.Errorf("process ended with %v, want signal %s", p.Err(), tt.want)
			}
		})
	}
}

// pause pauses a process and returns when nsenter, its parent, has noticed.
func pause(p *lab.Process) error {
	if err := p.Pause(); err != nil {
		return err
	}
	parent := strings.Fields(stat(p.PID))[1]
	for {
		pid, err := strconv.Atoi(parent)
		if err != nil || strings.HasPrefix(stat(pid), "T") {
			return err
		}
	}
}

// TestPausedProcessHoldsNoMachine: a test that fails while something is paused ends.
func TestPausedProcessHoldsNoMachine(t *testing.T) {
	l, err := lab.Up(t.Context(), lab.Options{Hosts: lab.Same(1, lab.NoDocker)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Hosts[0].Start("sleep", nil, "sleep", "1000")
	if err == nil {
		err = pause(p)
	}
	if err := errors.Join(err, l.Close()); err != nil {
		t.Error(err)
	}
}

// stat is a process's stat file from the state on.
func stat(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(line), ") ")
	return rest
}

func TestStartTellsWhatDoesNotRun(t *testing.T) {
	l := lab.New(t, lab.Options{Hosts: lab.Same(1, lab.NoDocker)})
	p, err := l.Hosts[0].Start("nothing", nil, "/no/such/program")
	if err == nil { // it may have ended before Start looked, or after
		<-p.Done()
		err = p.Err()
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 127 {
		t.Errorf("process ended with %v, want status 127", err)
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	l := lab.New(t, lab.Options{Hosts: lab.Same(1, lab.NoDocker)})
	h := l.Hosts[0]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := h.Exec(ctx, "sh", "-c", "echo $$ >/run/pid; exec sleep 1000")
		done <- err
	}()
	for {
		if pid, err := os.ReadFile(h.Path("/run/pid")); err == nil && len(pid) > 1 {
			break
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("program ended well, want it killed")
	}
	// It may be a zombie for a moment more.
	pid := strings.TrimSpace(h.MustExec(t, "cat", "/run/pid"))
	for {
		if _, err := h.Exec(t.Context(), "kill", "-0", pid); err != nil {
			return
		}
	}
}
