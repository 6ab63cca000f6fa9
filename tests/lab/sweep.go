package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// groupPrefix and a lab's id name the control group below which its containers are.
// Labs share no parent, which one could remove while another makes its child.
const groupPrefix = "gvlan-lab-"

// sweepPatience bounds how long killed processes may take to leave their groups.
const sweepPatience = 30 * time.Second

// Sweep removes everything left by labs whose owner is dead. Living labs, also those
// of other processes, are not touched.
func Sweep() error {
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	dead, err := deadLabs()
	if err != nil {
		return err
	}
	for _, id := range dead {
		err = errors.Join(err, remove(id))
	}
	return err
}

// deadLabs lists labs without a living owner: those with a directory, and those that
// only have a control group or a process any more.
func deadLabs() ([]string, error) {
	states, err := States()
	if err != nil {
		return nil, err
	}
	var ids []string
	alive := map[string]bool{}
	for _, s := range states {
		ids = append(ids, s.ID)
		alive[s.ID] = s.Owner.Alive()
	}
	for _, group := range cgroups("*") {
		ids = append(ids, strings.TrimPrefix(filepath.Base(group), groupPrefix))
	}
	for _, p := range processes() {
		ids = append(ids, p.lab)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return slices.DeleteFunc(ids, func(id string) bool { return alive[id] || !formed(id) }), nil
}

// formed reports whether a lab forms such an id. Anything else in an environment or
// in a name is not a lab's: the id becomes part of a path that is removed.
func formed(id string) bool {
	n, err := strconv.ParseUint(id, idBase, 32)
	return err == nil && formID(uint32(n)) == id
}

// remove kills what is left of a lab, waits for its end, and removes its control
// groups and directory. Namespaces, mounts and links went with the processes.
func remove(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepPatience)
	defer cancel()
	for {
		left := processesOf(id)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		err := removeGroups(id)
		if len(left) == 0 && err == nil {
			return os.RemoveAll(filepath.Join(base, id))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove lab %s: %w, processes left: %v: %w", id, ctx.Err(), left, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Leftover is something a dead lab left on this machine.
type Leftover struct {
	Lab  string // the lab's id
	What string // a directory, process or control group
}

// String names the lab and what it left.
func (l Leftover) String() string { return "lab " + l.Lab + ": " + l.What }

// Leftovers lists what dead labs left. It is empty after a Sweep. Mounts, links and
// namespaces are not looked for: a lab has none outside its own namespaces, which go
// with their last process.
func Leftovers() ([]Leftover, error) {
	dead, err := deadLabs()
	if err != nil {
		return nil, err
	}
	var left []Leftover
	for _, id := range dead {
		if dir := filepath.Join(base, id); exists(dir) {
			left = append(left, Leftover{id, "directory " + dir})
		}
		for _, pid := range processesOf(id) {
			left = append(left, Leftover{id, fmt.Sprintf("process %d %s", pid, commandLine(pid))})
		}
		for _, group := range cgroups(id) {
			left = append(left, Leftover{id, "control group " + group})
		}
	}
	return left, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// labProcess is a process of some lab.
type labProcess struct {
	pid int
	lab string
}

// processesOf finds a lab's processes. Those on their way out have no environment any
// more, but are in a machine whose process 1 waits for them.
func processesOf(id string) []int {
	var pids []int
	for _, p := range processes() {
		if p.lab == id {
			pids = append(pids, p.pid)
		}
	}
	for _, m := range readState(id).Machines {
		if m.Alive() && !slices.Contains(pids, m.PID) {
			pids = append(pids, m.PID)
		}
	}
	return pids
}

// processes finds all labs' processes: the lab's own carry its id in their
// environment, containers have it in the path of their control group.
func processes() []labProcess {
	var found []labProcess
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if id := labOf(dir); id != "" {
			found = append(found, labProcess{pid: pid, lab: id})
		}
	}
	return found
}

func labOf(proc string) string {
	// Of a process that ended meanwhile nothing can be read, which is an answer.
	environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
	for v := range strings.SplitSeq(string(environ), "\x00") {
		if id, ok := strings.CutPrefix(v, marker+"="); ok {
			return id
		}
	}
	groups, _ := os.ReadFile(filepath.Join(proc, "cgroup"))
	if _, rest, ok := strings.Cut(string(groups), "/"+groupPrefix); ok {
		id, _, _ := strings.Cut(rest, "/")
		return strings.TrimSpace(id)
	}
	return ""
}

func commandLine(pid int) string {
	line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
}

// cgroups lists the control groups of a lab (or "*") in every hierarchy: version 1
// has one directory per controller, version 2 has a single tree.
func cgroups(id string) []string {
	one, _ := filepath.Glob("/sys/fs/cgroup/*/" + groupPrefix + id)
	two, _ := filepath.Glob("/sys/fs/cgroup/" + groupPrefix + id)
	return append(one, two...)
}

// removeGroups removes a lab's control groups, innermost first; the kernel refuses
// one that still has a process.
func removeGroups(id string) error {
	for _, root := range cgroups(id) {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.Reverse(dirs)
		for _, dir := range dirs {
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
				return fmt.Errorf("remove control group %s: %w", dir, err)
			}
		}
	}
	return nil
}
