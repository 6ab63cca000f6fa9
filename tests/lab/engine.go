package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
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

// Axe is the script of axe-core, which tests/lab/install.sh fetches once per machine.
func Axe() ([]byte, error) {
	script, err := os.ReadFile(filepath.Join(cacheDir(), "axe-core", "axe.min.js"))
	if err != nil {
		return nil, fmt.Errorf("read axe-core: %w (%w)", errNotInstalled, err)
	}
	return script, nil
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
// 200 is an error. Who looks again and again asks this way: the docker command
// takes fifty times as long to start as the engine to answer.
func (e *Engine) Get(ctx context.Context, path string, answer any) error {
	body, err := e.ask(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("decode the answer to %s on %s: %w", path, e.machine.Name, err)
	}
	return nil
}

// Delete has the engine's API remove something, as in "/containers/web?force=1".
// What is gone already is no error.
func (e *Engine) Delete(ctx context.Context, path string) error {
	_, err := e.ask(ctx, http.MethodDelete, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ask gives the body of the engine's answer; a refusal is an error, fs.ErrNotExist
// where there is no such thing.
func (e *Engine) ask(ctx context.Context, method, path string) ([]byte, error) {
	client := e.client()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the engine of %s: %w", e.machine.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s on %s: %w", path, e.machine.Name, err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return body, nil
	case http.StatusNotFound:
		err = fs.ErrNotExist
	default:
		err = errRefused
	}
	return nil, fmt.Errorf("%s %s on %s: %w: %s: %s", method, path, e.machine.Name, err, resp.Status, bytes.TrimSpace(body))
}

// errRefused says that an engine did not do what it was asked.
var errRefused = errors.New("the engine refuses")

// Clear removes every container, running or not, as `docker rm -f` does.
func (e *Engine) Clear(ctx context.Context) error {
	var all []struct{ ID string }
	if err := e.Get(ctx, "/containers/json?all=1", &all); err != nil {
		return err
	}
	var group errgroup.Group // each of them, whatever becomes of the others
	for _, c := range all {
		group.Go(func() error { return e.Delete(ctx, "/containers/"+c.ID+"?force=1") })
	}
	return group.Wait()
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

// busyboxPath is Debian's package busybox-static.
const busyboxPath = "/bin/busybox"

// importBusybox gives the engine the image busybox: one static program under all its
// names (sh, sleep, ping, ip, arping, nslookup, httpd, wget, nc ...).
func (e *Engine) importBusybox(ctx context.Context) error {
	path, err := busyboxImage(ctx)
	if err != nil {
		return err
	}
	image, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open image: %w", err)
	}
	defer image.Close()
	return e.Import(ctx, "busybox", image)
}

// Import makes an image from the tar archive of a root file system. A container of
// it runs sh unless told otherwise.
func (e *Engine) Import(ctx context.Context, name string, rootfs io.Reader) error {
	cmd := e.machine.Command(ctx, "docker", "import", "-c", `CMD ["sh"]`, "-", name)
	cmd.Stdin = rootfs
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import image %s on %s: %w: %s", name, e.machine.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

// busyboxImage gives the path of the image's tar archive, made once per machine.
func busyboxImage(ctx context.Context) (string, error) {
	path := filepath.Join(cacheDir(), "busybox.tar")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	list, err := exec.CommandContext(ctx, busyboxPath, "--list").Output()
	if err != nil {
		return "", fmt.Errorf("list busybox's programs: %w (%w)", errNotInstalled, err)
	}
	program, err := os.ReadFile(busyboxPath)
	if err != nil {
		return "", fmt.Errorf("read busybox: %w", err)
	}
	archive, err := busyboxArchive(program, strings.Fields(string(list)))
	if err != nil {
		return "", fmt.Errorf("make busybox image: %w", err)
	}
	return path, writeWhole(path, archive)
}

func busyboxArchive(program []byte, applets []string) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	var err error
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		err = errors.Join(err, w.WriteHeader(&h))
		_, werr := w.Write(data)
		err = errors.Join(err, werr)
	}
	for _, dir := range []string{"bin/", "etc/", "root/", "tmp/", "var/", "www/"} {
		add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, a := range applets {
		if a != "busybox" {
			add(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	}
	return archive.Bytes(), errors.Join(err, w.Close())
}

// writeWhole writes a file so that other processes see all of it or none.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Build builds one of this module's programs, statically linked, and gives its path.
// Package is an import path, as in "gvlan/cmd/gvlan"; flags go to go build, as in
// "-cover". The working directory must be inside the module. A program that is up to
// date is not built again.
func Build(ctx context.Context, pkg string, flags ...string) (string, error) {
	dir := filepath.Join(cacheDir(), "bin", fmt.Sprintf("%x", flags))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	unlock, err := flock(filepath.Join(dir, ".lock"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	defer unlock()
	out := filepath.Join(dir, path.Base(pkg))
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, bytes.TrimSpace(said))
	}
	return out, nil
}

// BuildOf builds a program of a commit of this repository, statically linked, and
// gives its path. Program is its folder, as in "cmd/gvlan", and root
// the repository's. It is built once per machine.
func BuildOf(ctx context.Context, root, commit, program string) (string, error) {
	dir := filepath.Join(cacheDir(), "bin", commit)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build %s of %s: %w", program, commit, err)
	}
	unlock, err := flock(filepath.Join(dir, ".lock"))
	if err != nil {
		return "", fmt.Errorf("build %s of %s: %w", program, commit, err)
	}
	defer unlock()
	out := filepath.Join(dir, path.Base(program))
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	source, err := os.MkdirTemp("", "gvlan-source-")
	if err != nil {
		return "", fmt.Errorf("build %s of %s: %w", program, commit, err)
	}
	defer os.RemoveAll(source)
	archive := filepath.Join(source, "source.tar")
	for _, step := range [][]string{
		{"git", "-C", root, "archive", "--output", archive, commit},
		{"tar", "-xf", archive, "-C", source},
		{"go", "-C", source, "build", "-trimpath", "-ldflags", "-s -w", "-o", out + ".new", "./" + program},
		{"mv", out + ".new", out}, // a build that is interrupted leaves nothing
	} {
		cmd := exec.CommandContext(ctx, step[0], step[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		if said, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s of %s: %s: %w: %s", program, commit, step[0], err, bytes.TrimSpace(said))
		}
	}
	return out, nil
}

// flock takes the exclusive lock on a file: flock(2).
func flock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("take lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}
