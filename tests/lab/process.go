package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is a program that runs inside a machine until it is told to end.
type Process struct {
	// PID is the program as seen from outside the machine.
	PID int
	// Log is the file, outside the machine, that has the program's output.
	Log string

	name string
	cmd  *exec.Cmd     // nsenter, the program's parent
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// announce is the shell that becomes the program. Its line on descriptor 3 says that
// nsenter has forked, so that the program's process id can be read.
const announce = `echo >&3; exec 3>&-; exec "$@"`

// endsSoon is when an nsenter whose program is not to be found is killed.
const endsSoon = 10 * time.Second

// Start runs a program inside the machine and returns as soon as it runs. Its output
// goes to a log file named after label, which is printed when the lab's test fails.
// Env is added to the machine's environment.
func (m *Machine) Start(label string, env []string, name string, args ...string) (*Process, error) {
	line := append([]string{"-c", announce, label, name}, args...)
	cmd := m.Command(context.Background(), "sh", line...)
	cmd.Env = append(cmd.Env, env...)
	log, err := m.lab.newLog(m.Name + "-" + label)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", label, m.Name, err)
	}
	defer reader.Close()
	cmd.ExtraFiles = []*os.File{writer}
	err = cmd.Start()
	writer.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", label, m.Name, err)
	}
	p := &Process{Log: log.Name(), name: label + " on " + m.Name, cmd: cmd, done: make(chan struct{})}
	if _, err := reader.Read(make([]byte, 1)); err == nil {
		p.PID, err = onlyChild(cmd.Process.Pid)
		if err == nil {
			m.mu.Lock()
			m.started = append(m.started, p)
			m.mu.Unlock()
			go p.wait()
			return p, nil
		}
	}
	// It has ended, and nsenter is about to, with the program's status.
	late := time.AfterFunc(endsSoon, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	return nil, fmt.Errorf("start %s: %w: %w", p.name, errGone, cmd.Wait())
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how the program ended: nil, or an [exec.ExitError]. It is only to be
// asked of one that has ended.
func (p *Process) Err() error { return p.err }

// Running reports whether the program has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the program alone, not to its children. A program that
// has ended is left in peace.
func (p *Process) Signal(sig syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to %s: %w", sig, p.name, err)
	}
	return nil
}

// Kill ends the program with SIGKILL and waits until it is gone.
func (p *Process) Kill() error { return p.end(context.Background(), syscall.SIGKILL) }

// Stop asks the program to end with SIGTERM and waits until it has, or ctx ends.
func (p *Process) Stop(ctx context.Context) error { return p.end(ctx, syscall.SIGTERM) }

func (p *Process) end(ctx context.Context, sig syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(sig); err != nil {
		return err
	}
	p.wakeParent()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w", p.name, ctx.Err())
	}
}

// Pause stops the program with SIGSTOP and returns when it has stopped: its sockets
// stay open and nobody answers.
func (p *Process) Pause() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for p.Running() && state(p.PID) != stopped {
		time.Sleep(time.Millisecond)
	}
	return nil
}

// Resume lets a paused program go on.
func (p *Process) Resume() error {
	if err := p.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	p.wakeParent()
	return nil
}

// wakeParent lets nsenter go on: it stops itself along with a stopped child, and a
// stopped nsenter would never see the child's end.
func (p *Process) wakeParent() { _ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGCONT) }

// await tries until ready succeeds, the program ends, or ctx ends. The time between
// two tries only bounds the load; nothing is judged by it.
func (p *Process) await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("wait for %s: %w (%w), see %s", p.name, errGone, p.err, p.Log)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w), see %s", p.name, ctx.Err(), err, p.Log)
		case <-tick.C:
		}
	}
}
