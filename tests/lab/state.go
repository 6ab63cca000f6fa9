package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// base holds one directory per lab. A machine's own /tmp has its lab's directory
	// at the same path, and nothing else of this computer's.
	base = "/tmp/gvlan-lab"
	// marker is the environment variable that carries the lab's id.
	marker = "GVLAN_LAB"
)

// State is what a lab tells other processes, in Dir/lab.json.
type State struct {
	ID       string         `json:"id"`
	Owner    Identity       `json:"owner"`
	Machines []MachineState `json:"machines,omitempty"`
}

// MachineState is one machine of a lab.
type MachineState struct {
	Identity        // process 1, seen from outside
	Name     string `json:"name"`
	Addr     string `json:"addr,omitempty"`
	// Release is the host's engine, or NoDocker.
	Release Release `json:"release"`
}

// Identity is a process, told from a later one of the same number by its start time.
type Identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since boot: proc(5), stat field 22
}

// Alive tells whether the process still runs. A process 1 is alive until the last
// process of its namespace is gone.
func (i Identity) Alive() bool {
	start, err := startTime(i.PID)
	return err == nil && start == i.Start
}

// Process states: proc(5), stat field 3.
const (
	stopped = "T"
	zombie  = "Z"
)

// state gives a process's state, or nothing when it is gone.
func state(pid int) string {
	fields, err := stat(pid)
	if err != nil {
		return ""
	}
	return fields[0]
}

func startTime(pid int) (string, error) {
	fields, err := stat(pid)
	if err != nil {
		return "", fmt.Errorf("read start time: %w", err)
	}
	if fields[0] == zombie {
		return "", fmt.Errorf("read start time of %d: %w", pid, errGone)
	}
	const third, start = 3, 22 // field numbers
	return fields[start-third], nil
}

// stat gives the fields of a process's stat file from the third on.
func stat(pid int) ([]string, error) {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, err
	}
	// The command name in parentheses may itself have spaces and parentheses.
	return strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:])), nil
}

// idBase makes ids of digits and small letters, which are safe in a path.
const idBase = 36

func formID(n uint32) string { return strconv.FormatUint(uint64(n), idBase) }

// register makes the lab's directory. From its first moment on the directory names
// a living owner, because both happen under the lock that Sweep takes.
func register() (*Lab, error) {
	unlock, err := lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	l := &Lab{ID: formID(rand.Uint32())}
	l.Dir = filepath.Join(base, l.ID)
	if err := os.Mkdir(l.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(l.Dir, "log"), 0o755); err != nil {
		return nil, err
	}
	return l, l.writeState()
}

// writeState tells of the lab as it is now. The file is replaced as a whole.
func (l *Lab) writeState() error {
	start, err := startTime(os.Getpid())
	if err != nil {
		return err
	}
	s := State{ID: l.ID, Owner: Identity{PID: os.Getpid(), Start: start}}
	for _, m := range l.booted {
		s.Machines = append(s.Machines, MachineState{
			Identity: Identity{PID: m.PID, Start: m.start},
			Name:     m.Name, Addr: m.Addr4.String(), Release: m.release,
		})
	}
	slices.SortFunc(s.Machines, func(a, b MachineState) int { return strings.Compare(a.Name, b.Name) })
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	return writeWhole(filepath.Join(l.Dir, "lab.json"), data)
}

// States lists the labs that have a directory, running or not. A lab whose state
// cannot be read has no owner.
func States() ([]State, error) {
	dirs, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var all []State
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		all = append(all, readState(d.Name()))
	}
	return all, nil
}

func readState(id string) State {
	s := State{ID: id}
	if data, err := os.ReadFile(filepath.Join(base, id, "lab.json")); err == nil {
		_ = json.Unmarshal(data, &s)
	}
	return s
}

// lock keeps two processes from registering and sweeping at once.
func lock() (unlock func(), err error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", base, err)
	}
	return flock(filepath.Join(base, ".lock"))
}
