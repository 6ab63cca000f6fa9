package lab_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/tests/lab"
)

// populate starts a container on each host of another process's lab and gives the
// processes, seen from outside, of the machines and the containers.
func populate(t *testing.T, id string) []int {
	t.Helper()
	states, err := lab.States()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, s := range states {
		if s.ID != id {
			continue
		}
		for _, m := range s.Machines {
			pids = append(pids, m.PID)
			if m.Release == lab.NoDocker {
				continue
			}
			line := append(m.Enter(), "/usr/bin/docker", "run", "-d", "busybox", "sleep", "1000")
			if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("run container on %s: %v: %s", m.Name, err, out)
			}
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/gvlan-lab-" + id + "/*/*/cgroup.procs")
	if err != nil || len(groups) == 0 {
		t.Fatalf("find containers' control groups: %v, %v", groups, err)
	}
	for _, group := range groups {
		list, err := os.ReadFile(group)
		if err != nil {
			t.Fatal(err)
		}
		for field := range strings.FieldsSeq(string(list)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// running reports whether a process is there and more than a zombie, which waits for
// the machine's own init.
func running(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestKilledOwnerLeavesNothing(t *testing.T) {
	program, err := lab.Build(t.Context(), "gvlan/tests/lab/cmd/lab")
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		t.Run(string(release), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			// Namespaces of its own show what the owner makes outside its lab.
			owner := exec.CommandContext(ctx, "unshare", "--net", "--mount", program,
				"own", "-hosts", "2", "-engine", string(release), "-etcd")
			before := mounts(t, os.Getpid())
			id := start(t, owner)
			pids := populate(t, id)
			outside(t, owner.Process.Pid, before)
			if err := owner.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = owner.Wait()

			if err := lab.Sweep(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]lab.Leftover(nil), leftOf(t, id)); diff != "" {
				t.Errorf("left after sweep (-want +got):\n%s", diff)
			}
			for _, pid := range pids {
				if running(pid) {
					t.Errorf("process %d still runs", pid)
				}
			}
		})
	}
}

// TestSweepKillsStrays: a lab's process that outlived its machine is found by the
// lab's id in its environment.
func TestSweepKillsStrays(t *testing.T) {
	stray := exec.CommandContext(t.Context(), "sleep", "1000")
	stray.Env = []string{"GVLAN_LAB=stray"}
	if err := stray.Start(); err != nil {
		t.Fatal(err)
	}
	if err := lab.Sweep(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := stray.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("stray process ended with %v, want it killed", err)
	}
}

// TestSweepRemovesLabsOnly: an id that no lab forms, which a process may have in its
// environment, leads out of the labs' directory.
func TestSweepRemovesLabsOnly(t *testing.T) {
	mine := t.TempDir()
	id, err := filepath.Rel("/tmp/gvlan-lab", mine)
	if err != nil {
		t.Fatal(err)
	}
	foreign := exec.CommandContext(t.Context(), "sleep", "1000")
	foreign.Env = []string{"GVLAN_LAB=" + id}
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	if err := lab.Sweep(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("directory %s after a sweep: %v, want it left", mine, err)
	}
	if !running(foreign.Process.Pid) {
		t.Errorf("process with GVLAN_LAB=%s was killed, want it left", id)
	}
	if left := leftOf(t, id); left != nil {
		t.Errorf("leftovers of %s: %v, want none", id, left)
	}
	_ = foreign.Process.Kill()
	_ = foreign.Wait()
}

// start starts an owner and gives the id of its lab when that is up.
func start(t *testing.T, owner *exec.Cmd) string {
	t.Helper()
	stdout, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	owner.Stderr = os.Stderr
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("lab did not come up: %v", err)
	}
	return strings.TrimSpace(id)
}

// outside checks the namespaces of an owner whose lab is up: no link, no packet
// filter and no mount is there that was not before.
func outside(t *testing.T, owner int, before map[string]bool) {
	t.Helper()
	enter := []string{"-t", strconv.Itoa(owner), "-n", "sh", "-c", "ip -o link | cut -d' ' -f2; nft list tables"}
	out, err := exec.CommandContext(t.Context(), "nsenter", enter...).CombinedOutput()
	if err != nil {
		t.Fatalf("look at the owner's namespace: %v: %s", err, out)
	}
	if diff := cmp.Diff("lo:\n", string(out)); diff != "" {
		t.Errorf("links and tables outside the lab (-want +got):\n%s", diff)
	}
	for mount := range mounts(t, owner) {
		if !before[mount] {
			t.Errorf("mount outside the lab: %s", mount)
		}
	}
}

// mounts gives the mount points a process sees.
func mounts(t *testing.T, pid int) map[string]bool {
	t.Helper()
	info, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	points := map[string]bool{}
	for line := range strings.Lines(string(info)) {
		points[strings.Fields(line)[4]] = true
	}
	return points
}

func leftOf(t *testing.T, id string) []lab.Leftover {
	t.Helper()
	all, err := lab.Leftovers()
	if err != nil {
		t.Fatal(err)
	}
	var left []lab.Leftover
	for _, l := range all {
		if l.Lab == id {
			left = append(left, l)
		}
	}
	return left
}
