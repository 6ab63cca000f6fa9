package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// AgentOptions says how a host's agent is run.
type AgentOptions struct {
	// Binary is the program, statically linked, as Build gives it.
	Binary string
	// Args are its arguments.
	Args []string
	// Env is added to its environment.
	Env []string
	// Plugin names the socket it serves, /run/docker/plugins/Plugin.sock; "" is gvlan.
	Plugin string
}

// Agent is a daemon that serves Docker's plugin API on a host. It runs in the host's
// namespaces, so that dockerd finds its socket and it sees dockerd's sandboxes. Its
// place for data is /var/lib/gvlan inside the host.
type Agent struct {
	*Process
	// Socket is its plugin socket, seen from outside.
	Socket string

	host    *Host
	options AgentOptions
}

// StartAgent starts an agent and returns when its plugin socket takes connections.
func (h *Host) StartAgent(ctx context.Context, o AgentOptions) (*Agent, error) {
	if o.Plugin == "" {
		o.Plugin = "gvlan"
	}
	a := &Agent{host: h, options: o, Socket: h.Path("/run/docker/plugins/" + o.Plugin + ".sock")}
	if err := a.Start(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// Start starts the agent again after it ended, with the same options.
func (a *Agent) Start(ctx context.Context) error {
	if err := a.Launch(); err != nil {
		return err
	}
	return a.Ready(ctx)
}

// Launch starts the agent without waiting for its socket.
func (a *Agent) Launch() error {
	binary, err := a.host.lab.Install(a.options.Binary)
	if err != nil {
		return err
	}
	a.Process, err = a.host.Machine.Start(a.options.Plugin, a.options.Env, binary, a.options.Args...)
	return err
}

// Ready returns when the agent's plugin socket takes connections.
func (a *Agent) Ready(ctx context.Context) error {
	return a.await(ctx, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", a.Socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Restart stops the agent in order and starts it again.
func (a *Agent) Restart(ctx context.Context) error {
	if err := a.Stop(ctx); err != nil {
		return err
	}
	return a.Start(ctx)
}

// Install puts a program where every machine sees it under the returned path. The
// same file is not put there twice.
func (l *Lab) Install(program string) (string, error) {
	info, err := os.Stat(program)
	if err != nil {
		return "", fmt.Errorf("install %s: %w", program, err)
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	dir := filepath.Join(l.Dir, "bin", fmt.Sprint(inode, "-", info.ModTime().UnixNano()))
	path := filepath.Join(dir, filepath.Base(program))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w", program, err)
	}
	if err := copyProgram(program, path); err != nil {
		return "", fmt.Errorf("install %s: %w", program, err)
	}
	return path, nil
}

// copyProgram makes a hard link, or a copy on another file system. The copy gets its
// name when it is whole and closed: two hosts may install at once, and a file open
// for writing cannot be run.
func copyProgram(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.CreateTemp(filepath.Dir(to), ".copy")
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	err = errors.Join(err, dst.Chmod(0o755), dst.Close())
	if err != nil {
		return err
	}
	return os.Rename(dst.Name(), to)
}
