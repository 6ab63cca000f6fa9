package lab_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gvlan/tests/lab"
)

// ownSystemd is the argument that makes this test's program the owner of a lab with a
// systemd, for as long as it lives.
const ownSystemd = "own-systemd"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == ownSystemd {
		fmt.Fprintln(os.Stderr, "own a lab:", own())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func own() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l, err := lab.Up(ctx, lab.Options{Hosts: initHosts()})
	if err != nil {
		return err
	}
	if _, err := l.Hosts[0].BootSystemd(ctx); err != nil {
		return err
	}
	fmt.Println(l.ID)
	select {}
}

func initHosts() []lab.HostOptions { return []lab.HostOptions{{Release: lab.Docker28, Off: true}} }

// TestInitIsApart: an init finds nothing of this computer's to mount, empty, move or
// write to. That is seen with one that does nothing before systemd is let in.
func TestInitIsApart(t *testing.T) {
	for _, release := range lab.Engines(lab.Docker20, lab.Docker28) {
		t.Run(string(release), func(t *testing.T) { initIsApart(t, release) })
	}
}

func initIsApart(t *testing.T, release lab.Release) {
	canary := canary(t)
	l := lab.New(t, lab.Options{Hosts: []lab.HostOptions{{Release: release, Off: true}}})
	b, err := l.Hosts[0].BootInit(t.Context(), "sleep", "infinity")
	if err != nil {
		t.Fatal(err)
	}
	if !apart(t, l, b) {
		t.FailNow()
	}
	if err := b.Off(); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Hosts[0].BootSystemd(t.Context()); err != nil {
		t.Fatal(err)
	}
	apart(t, l, b)
	if got := b.MustExec(t, "cat", "/proc/1/comm"); got != "systemd" {
		t.Errorf("process 1 is %s", got)
	}
	// Nor does it start what this computer has beside Docker.
	if got := b.MustExec(t, "ls", "/etc/systemd/system/multi-user.target.wants"); got != "containerd.service\ndocker.service" {
		t.Errorf("the boot starts %q", got)
	}
	if err := b.Engine.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.MustDocker(t, "run", "-d", "busybox", "sleep", "1000")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	untouched(t, l.ID, canary)
}

// TestKilledOwnerLeavesNoSystemd: the end of the lab's owner ends a systemd and what
// it started.
func TestKilledOwnerLeavesNoSystemd(t *testing.T) {
	canary := canary(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	owner := exec.CommandContext(ctx, "/proc/self/exe", ownSystemd)
	id := start(t, owner)
	pids := inGroup(t, id)
	if err := owner.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	if err := lab.Sweep(); err != nil {
		t.Fatal(err)
	}
	untouched(t, id, canary)
	for _, pid := range pids {
		if running(pid) {
			t.Errorf("process %d still runs", pid)
		}
	}
}

// canary is a file in this computer's /tmp.
func canary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(os.TempDir(), "gvlan-canary-"+strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	return path
}

// untouched checks that a lab that is gone took nothing along and left nothing.
func untouched(t *testing.T, id, canary string) {
	t.Helper()
	if _, err := os.Stat(canary); err != nil {
		t.Errorf("this computer's /tmp: %v", err)
	}
	if left := leftOf(t, id); left != nil {
		t.Errorf("the lab left %v", left)
	}
	if groups := groupsOf(id); groups != nil {
		t.Errorf("the lab left control groups %v", groups)
	}
}

// groupsOf lists the control groups of a lab, in every hierarchy.
func groupsOf(id string) []string {
	one, _ := filepath.Glob("/sys/fs/cgroup/*/gvlan-lab-" + id)
	two, _ := filepath.Glob("/sys/fs/cgroup/gvlan-lab-" + id)
	return append(one, two...)
}

// inGroup lists the processes in the control groups of a lab.
func inGroup(t *testing.T, id string) (pids []int) {
	t.Helper()
	for _, root := range groupsOf(id) {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err != nil || filepath.Base(path) != "cgroup.procs" {
				return err
			}
			list, err := os.ReadFile(path)
			for field := range strings.FieldsSeq(string(list)) {
				pid, _ := strconv.Atoi(field)
				pids = append(pids, pid)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(pids) < 3 { // systemd, its journal, dockerd
		t.Fatalf("processes in the control groups of %s: %v", id, pids)
	}
	return pids
}

// apart reports whether process 1 of a booted host shares no file system, no control
// group and no process with this computer, and cannot write to the kernel.
func apart(t *testing.T, l *lab.Lab, b *lab.Booted) bool {
	t.Helper()
	here := map[string]string{} // device number to mount point
	for _, m := range mountsOf(t, os.Getpid()) {
		here[m.device] = m.point
	}
	groups := 0
	for _, m := range mountsOf(t, b.PID) {
		switch {
		case m.kind == "cgroup2":
			groups++
			if want := "/gvlan-lab-" + l.ID + "/h1"; m.root != want {
				t.Errorf("%s is control group %s, want %s", m.point, m.root, want)
			}
		case here[m.device] != "" || m.kind == "cgroup":
			t.Errorf("%s inside is %s of this computer's %s (%s)", m.point, m.root, here[m.device], m.kind)
		}
	}
	if groups != 1 {
		t.Errorf("%d mounts of control groups inside, want 1", groups)
	}
	for _, kind := range []string{"mnt", "pid", "net", "uts", "ipc", "cgroup"} {
		inside, outside := namespace(t, strconv.Itoa(b.PID), kind), namespace(t, "self", kind)
		if inside == outside {
			t.Errorf("process 1 inside is in this computer's %s", outside)
		}
	}
	for _, path := range []string{"/proc/sys/kernel/domainname", "/sys/kernel/uevent_seqnum"} {
		if out, err := b.Exec(t.Context(), "sh", "-c", ": >>"+path); err == nil || !strings.Contains(err.Error(), "Read-only file system") {
			t.Errorf("open %s for writing inside: %s, %v; want it read-only", path, out, err)
		}
	}
	return !t.Failed()
}

func namespace(t *testing.T, process, kind string) string {
	t.Helper()
	name, err := os.Readlink(filepath.Join("/proc", process, "ns", kind))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// mount is a line of mountinfo: proc(5).
type mount struct{ device, root, point, kind string }

func mountsOf(t *testing.T, pid int) (all []mount) {
	t.Helper()
	info, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		left, right, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		all = append(all, mount{device: f[2], root: f[3], point: f[4], kind: strings.Fields(right)[0]})
	}
	return all
}
