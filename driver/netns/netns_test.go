package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
)

func TestDoRunsInNamespaceOnly(t *testing.T) {
	ns := newNamespace(t)
	outside := currentID(t)
	var inside netns.ID
	err := ns.Do(func() error {
		inside = currentID(t)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ns.ID(), inside); diff != "" {
		t.Errorf("namespace of fn (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(outside, currentID(t)); diff != "" {
		t.Errorf("namespace of the caller after Do (-want +got):\n%s", diff)
	}
}

func TestDoByPath(t *testing.T) {
	ns := newNamespace(t)
	path := bind(t, ns)
	var names []string
	err := netns.Do(path, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			names = append(names, i.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lo"}, names); diff != "" {
		t.Errorf("interfaces in an empty namespace (-want +got):\n%s", diff)
	}
}

func TestDoReturnsError(t *testing.T) {
	want := errors.New("made up")
	if err := newNamespace(t).Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Do = %v, want %v", err, want)
	}
}

func TestDoSurvivesGoexit(t *testing.T) {
	err := newNamespace(t).Do(func() error { runtime.Goexit(); return nil })
	if err == nil {
		t.Error("Do = nil for a function that never returned")
	}
}

// Threads that ran in a namespace must not run other goroutines there.
func TestNoThreadStaysBehind(t *testing.T) {
	home := currentID(t)
	ns := newNamespace(t)
	for range 50 {
		// Goexit skips the way back, so the thread has to end.
		_ = ns.Do(func() error { runtime.Goexit(); return nil })
	}
	for range 50 {
		if err := ns.Do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	// All at once, so that every thread of the pool is among them.
	const threads = 50
	found, release := make(chan netns.ID), make(chan struct{})
	defer close(release)
	for range threads {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var id netns.ID
			if ns, err := netns.Current(); err == nil {
				id = ns.ID()
				ns.Close()
			}
			found <- id
			<-release
		}()
	}
	for range threads {
		if diff := cmp.Diff(home, <-found); diff != "" {
			t.Errorf("namespace of a later goroutine (-want +got):\n%s", diff)
		}
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "0123456789ab")
	if err := os.WriteFile(empty, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o444); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		want       error
	}{
		{"empty file, as engines before 28 leave at Join", empty, netns.ErrNotNamespace},
		{"FIFO that nobody writes", fifo, netns.ErrNotNamespace},
		{"directory", dir, netns.ErrNotNamespace},
		{"another kind of namespace", "/proc/self/ns/mnt", netns.ErrNotNamespace},
		{"missing", filepath.Join(dir, "none"), fs.ErrNotExist},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := netns.Open(tt.path); !errors.Is(err, tt.want) {
				t.Errorf("Open = %v, want %v", err, tt.want)
			}
			mounted, err := netns.IsMounted(tt.path)
			if err != nil || mounted {
				t.Errorf("IsMounted = %v, %v, want false, nil", mounted, err)
			}
		})
	}
}

func TestIsMounted(t *testing.T) {
	path := bind(t, newNamespace(t))
	if mounted, err := netns.IsMounted(path); err != nil || !mounted {
		t.Errorf("IsMounted of a bind mount = %v, %v, want true, nil", mounted, err)
	}
	if mounted, err := netns.IsMounted("/proc/self/ns/net"); err != nil || !mounted {
		t.Errorf("IsMounted of /proc/self/ns/net = %v, %v, want true, nil", mounted, err)
	}
}

func TestProcesses(t *testing.T) {
	ns := newNamespace(t)
	expect := func(when string, want []int) {
		t.Helper()
		got, err := ns.Processes()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("processes %s (-want +got):\n%s", when, diff)
		}
		if has, err := ns.HasProcess(); err != nil || has != (len(want) > 0) {
			t.Errorf("HasProcess %s = %v, %v", when, has, err)
		}
	}
	expect("in an empty namespace", nil)
	first, second := startIn(t, ns), startIn(t, ns)
	both := []int{first.Process.Pid, second.Process.Pid}
	slices.Sort(both)
	expect("with two started in it", both)

	other, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", second.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if diff := cmp.Diff(ns.ID(), other.ID()); diff != "" {
		t.Errorf("Open of a process (-want +got):\n%s", diff)
	}
	first.Process.Kill()
	first.Wait()
	expect("after one ended", []int{second.Process.Pid})
}

func TestOthers(t *testing.T) {
	inhabited, mounted := newNamespace(t), newNamespace(t)
	sleeper := startIn(t, inhabited)
	startIn(t, inhabited)
	path := bind(t, mounted)

	all, err := netns.Others()
	if err != nil {
		t.Fatal(err)
	}
	paths := map[netns.ID][]string{}
	for _, ns := range all {
		paths[ns.ID()] = append(paths[ns.ID()], ns.Path())
		if err := ns.Do(func() error { return nil }); err != nil {
			t.Errorf("enter %s: %v", ns.Path(), err)
		}
		ns.Close()
	}
	if got := paths[inhabited.ID()]; len(got) != 1 || !strings.HasPrefix(got[0], "/proc/") {
		t.Errorf("the namespace of process %d is there as %v, want it once, by a process", sleeper.Process.Pid, got)
	}
	if diff := cmp.Diff([]string{path}, paths[mounted.ID()]); diff != "" {
		t.Errorf("paths of the mounted namespace (-want +got):\n%s", diff)
	}
	if got := paths[currentID(t)]; got != nil {
		t.Errorf("the own namespace is there as %v", got)
	}
}

// startIn starts a process in ns that stays until the end of the test.
func startIn(t *testing.T, ns *netns.Namespace) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func newNamespace(t *testing.T) *netns.Namespace {
	t.Helper()
	ns, err := netnstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func currentID(t *testing.T) netns.ID {
	t.Helper()
	ns, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	return ns.ID()
}

// bind mounts ns on a file, as Docker does for a sandbox.
func bind(t *testing.T, ns *netns.Namespace) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	err := ns.Do(func() error {
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	return path
}
