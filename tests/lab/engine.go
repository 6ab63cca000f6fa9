package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// Release is a release of Docker Engine that the lab has.
type Release string

// The releases. They differ where it matters to a driver: in 20.10 a sandbox's
// namespace does not exist yet when Join is called, in 28.5 it does.
const (
	Docker20 Release = "20.10" // Debian 12's docker.io, 20.10.24
	Docker26 Release = "26.1"  // Debian trixie's docker.io, 26.1.5
	Docker28 Release = "28.5"  // Debian forky's docker.io, 28.5.2
	NoDocker Release = "none"  // a host for agents alone

	// DockerGiven is an engine that the caller has, whose programs lie in the folder
	// that the environment variable ENGINE names, over Docker28's root.
	DockerGiven Release = "given"
)

// Engines are the releases that a test runs on: those it names, or the one
// engine that ENGINE gives.
func Engines(releases ...Release) []Release {
	if os.Getenv(givenEngine) != "" {
		return []Release{DockerGiven}
	}
	return releases
}

// givenEngine is the environment variable of DockerGiven.
const givenEngine = "ENGINE"

// programs is the folder whose programs stand before those of the root; "" for none.
func (r Release) programs() (string, error) {
	if r != DockerGiven {
		return "", nil
	}
	folder := os.Getenv(givenEngine)
	if !filepath.IsAbs(folder) { // a test's working directory is its package's, not make's
		return "", fmt.Errorf("%s=%s is not an absolute path; give that of a folder with dockerd in it", givenEngine, folder)
	}
	if _, err := exec.LookPath(filepath.Join(folder, "dockerd")); err != nil {
		return "", fmt.Errorf("%s=%s is no folder with an engine's programs, as a release's archive of static ones unpacks to: %w", givenEngine, folder, err)
	}
	return folder, nil
}

// errNotInstalled says how to prepare the machine.
var errNotInstalled = errors.New("not installed: run tests/lab/install.sh")

// root is the root file system that has the release.
func (r Release) root() (string, error) {
	root, need := "/", "usr/sbin/dockerd"
	switch r {
	case Docker20, NoDocker:
	case Docker26:
		root, need = filepath.Join(cacheDir(), "trixie"), ".complete"
	case Docker28, DockerGiven:
		root, need = filepath.Join(cacheDir(), "forky"), ".complete"
	default:
		return "", fmt.Errorf("docker release %q is not one of %q, %q, %q, %q, %q", r, Docker20, Docker26, Docker28, DockerGiven, NoDocker)
	}
	if _, err := os.Stat(filepath.Join(root, need)); err != nil {
		return "", fmt.Errorf("find docker %s: %w (%w)", r, errNotInstalled, err)
	}
	return root, nil
}

// cacheDir keeps what is made once per machine: the newer engine, images, programs.
func cacheDir() string {
	if dir := os.Getenv("GVLAN_LAB_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/gvlan-lab"
}

// Engine is a host's dockerd. The exported fields may be changed while it is stopped.
type Engine struct {
	Release     Release
	Labels      []string
	LiveRestore bool
	Flags       []string

	machine *Machine
	process *Process
	seeded  bool // the image is there
}

// Start starts dockerd and returns when its API answers. At its first start it
// imports the image busybox.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.Launch(); err != nil {
		return err
	}
	return e.Ready(ctx)
}

// Launch starts dockerd without waiting for its API, which can take minutes when a
// plugin it needs is away.
func (e *Engine) Launch() error {
	args := []string{
		"--exec-opt", "native.cgroupdriver=cgroupfs",
		"--cgroup-parent", "/" + groupPrefix + e.machine.lab.ID + "/" + e.machine.Name,
	}
	if os.Getenv(insideUML) != "" {
		args = append(args, "--iptables=false", "--ip6tables=false", "--bridge=none") // that kernel has no NAT
	}
	for _, label := range e.Labels {
		args = append(args, "--label", label)
	}
	if e.LiveRestore {
		args = append(args, "--live-restore")
	}
	process, err := e.machine.Start("dockerd", nil, "dockerd", append(args, e.Flags...)...)
	if err != nil {
		return fmt.Errorf("launch dockerd: %w", err)
	}
	e.process = process
	return nil
}

// Ready returns when the API of a launched dockerd answers.
func (e *Engine) Ready(ctx context.Context) error {
	client := e.client()
	defer client.CloseIdleConnections()
	err := e.process.await(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
		if err != nil {
			return fmt.Errorf("make request: %w", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
	if err != nil || e.seeded {
		return err
	}
	if err := e.importBusybox(ctx); err != nil {
		return err
	}
	e.seeded = true
	return nil
}

// Socket is the path of the engine's API, seen from outside.
func (e *Engine) Socket() string { return e.machine.Path("/run/docker.sock") }

// Get asks the engine's API and decodes the answer, which is JSON. Anything but
// 200 is an error.
func (e *Engine) Get(ctx context.Context, path string, answer any) error {
	client := e.client()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the engine of %s: %w", e.machine.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer to %s on %s: %w", path, e.machine.Name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s on %s: %s: %s", path, e.machine.Name, resp.Status, bytes.TrimSpace(body))
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("decode the answer to %s on %s: %w", path, e.machine.Name, err)
	}
	return nil
}

// client speaks HTTP over the engine's socket, whatever the URL's host.
func (e *Engine) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.Socket())
		},
	}}
}

// Process is the dockerd that was started last.
func (e *Engine) Process() *Process { return e.process }

// Stop asks dockerd to end in order, which stops containers unless LiveRestore.
func (e *Engine) Stop(ctx context.Context) error { return e.process.Stop(ctx) }

// Kill ends dockerd with SIGKILL. Containers run on under their shims.
func (e *Engine) Kill() error { return e.process.Kill() }

// Restart is Stop and Start.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.Stop(ctx); err != nil {
		return err
	}
	return e.Start(ctx)
}

// crashed waits for the end of a dockerd whose host crashed.
func (e *Engine) crashed(ctx context.Context) error {
	if e.process == nil {
		return nil
	}
	return e.process.end(ctx, 0)
}
