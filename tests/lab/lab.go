package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options says what a lab is made of.
type Options struct {
	// Hosts are the hosts in order; the first is h1 with address 10.99.0.1.
	Hosts []HostOptions
}

// Same gives the options of n hosts with one release of Docker.
func Same(n int, release Release) []HostOptions {
	hosts := make([]HostOptions, n)
	for i := range hosts {
		hosts[i].Release = release
	}
	return hosts
}

// Lab is a LAN with hosts on it, owned by this process.
type Lab struct {
	// ID tells this lab from others on the machine; it is part of the names of its
	// directory and control groups.
	ID string
	// Dir is the lab's directory, below /tmp and seen under the same path by every
	// machine. It goes with the lab.
	Dir string
	// LAN is the switch.
	LAN *LAN
	// Peer is on the LAN and runs nothing of ours: it pings and probes.
	Peer *Peer
	// Hosts are the hosts in order.
	Hosts []*Host

	closing sync.Once
	logs    atomic.Int64 // log files made so far

	mu     sync.Mutex
	booted []*Machine
	etcds  int // etcd servers made so far
}

// Up sweeps what dead labs left, makes a lab, and returns when every engine answers.
func Up(ctx context.Context, o Options) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("make a lab: %w", os.ErrPermission)
	}
	if err := Sweep(); err != nil {
		return nil, fmt.Errorf("sweep dead labs: %w", err)
	}
	l, err := register()
	if err != nil {
		return nil, fmt.Errorf("register the lab: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.LAN, err = l.newLAN(); err != nil {
		return nil, err
	}
	l.Hosts = make([]*Host, len(o.Hosts))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		l.Peer, err = l.newPeer()
		return err
	})
	for i, ho := range o.Hosts {
		group.Go(func() (err error) {
			l.Hosts[i], err = l.newHost(ctx, i+1, ho)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l, l.writeState()
}

// Close ends every process of the lab at once and removes all it made. It does not
// stop engines or agents in order: a test that wants that does it before.
func (l *Lab) Close() error {
	var err error
	l.closing.Do(func() {
		var gone sync.WaitGroup
		for _, m := range l.booted {
			gone.Go(m.shutdown)
		}
		gone.Wait()
		err = remove(l.ID)
	})
	return err
}

// add registers a machine that was booted.
func (l *Lab) add(m *Machine) error {
	start, err := startTime(m.PID)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m.start = start
	l.booted = append(l.booted, m)
	return l.writeState()
}

// shared lists the directories that machines see under this computer's path: the lab's
// own, and the one that programs built with -cover write to.
func (l *Lab) shared() []string {
	dirs := []string{l.Dir}
	if dir, ok := os.LookupEnv("GOCOVERDIR"); ok {
		dirs = append(dirs, dir)
	}
	return dirs
}

// env is the environment of everything that runs in the lab. The lab's id in it is
// how a process is recognised as the lab's.
func (l *Lab) env() []string {
	env := []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		l.Mark(),
	}
	if dir, ok := os.LookupEnv("GOCOVERDIR"); ok {
		env = append(env, "GOCOVERDIR="+dir)
	}
	return env
}

// Mark is the variable in the environment of a program that is the lab's and runs on
// none of its machines: it ends with the lab.
func (l *Lab) Mark() string { return marker + "=" + l.ID }

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

// NewAuthority makes an authority.
func (l *Lab) NewAuthority() (*Authority, error) {
	dir, err := os.MkdirTemp(l.Dir, "tls")
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	a := &Authority{dir: dir, key: key, cert: template("lab authority")}
	a.cert.IsCA, a.cert.BasicConstraintsValid = true, true
	a.cert.KeyUsage = x509.KeyUsageCertSign
	if err := a.write("ca", a.cert, key); err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	return a, nil
}

// NewEtcd starts an etcd server and returns when it answers.
func (l *Lab) NewEtcd(ctx context.Context, o EtcdOptions) (*Etcd, error) {
	var err error
	if o.Binary == "" {
		if o.Binary, err = Build(ctx, EtcdProgram); err != nil {
			return nil, err
		}
	}
	e := &Etcd{machine: o.On, options: o}
	if e.binary, err = l.Install(o.Binary); err != nil {
		return nil, err
	}
	number := l.nextEtcd()
	e.name = fmt.Sprintf("etcd%d", number)
	e.dir = "/var/lib/etcd/" + e.name
	if e.machine == nil {
		e.machine = l.LAN.Machine
		v4, v6 := lanAddresses(etcdNumber - number)
		if err := e.machine.configure(bridge, v4, v6); err != nil {
			return nil, err
		}
		e.Addr = netip.AddrPortFrom(v4.Addr(), 2379)
	} else {
		e.Addr = netip.AddrPortFrom(e.machine.Addr4, 2379)
	}
	return e, e.Start(ctx)
}

func (l *Lab) nextEtcd() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.etcds++
	return l.etcds - 1
}

func (l *Lab) newLAN() (*LAN, error) {
	m, err := l.boot("lan", NoDocker)
	if err != nil {
		return nil, err
	}
	lan := &LAN{Machine: m, filtered: map[string]bool{}}
	if err := lan.addBridge(); err != nil {
		return nil, fmt.Errorf("make the bridge: %w", err)
	}
	return lan, nil
}

// WhoHas asks the LAN once who has an address, by ARP (RFC 826) or neighbour
// solicitation (RFC 4861), and returns every answer. One holder gives one answer; two
// holders give two, also on one host and with one MAC.
func (l *Lab) WhoHas(ctx context.Context, addr netip.Addr) ([]Answer, error) {
	return l.whoHas(ctx, addr, netip.Addr{})
}

// WhoHasFor is WhoHas of an IPv4 address as one asks who has an address of its own,
// and wants to speak from it: what answers may depend on that.
func (l *Lab) WhoHasFor(ctx context.Context, addr, asker netip.Addr) ([]Answer, error) {
	return l.whoHas(ctx, addr, asker)
}

func (l *Lab) whoHas(ctx context.Context, addr, asker netip.Addr) ([]Answer, error) {
	capture, err := packetSocket(l.LAN.Machine)
	if err != nil {
		return nil, fmt.Errorf("listen for answers: %w", err)
	}
	defer capture.Close()
	card, err := l.Peer.links.LinkByName(nic)
	if err != nil {
		return nil, fmt.Errorf("find card of %s: %w", l.Peer.Name, err)
	}
	from := newProber()
	question := from.question(addr)
	if asker.IsValid() {
		copy(question[28:32], asker.AsSlice()) // the sender's address: RFC 826
	}
	if err := l.Peer.send(card.Attrs().Index, question); err != nil {
		return nil, fmt.Errorf("ask who has %s: %w", addr, err)
	}
	ports, err := l.LAN.ports()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(probeWindow)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := capture.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	return collect(capture, func(index int, frame []byte) (Answer, bool) {
		mac, ok := from.answer(addr, frame)
		return Answer{Port: ports[index], MAC: mac}, ok && ports[index] != ""
	})
}

// newLog makes a log file that no other process of this lab writes.
func (l *Lab) newLog(name string) (*os.File, error) {
	n := l.logs.Add(1)
	path := filepath.Join(l.Dir, "log", fmt.Sprintf("%s-%d.log", name, n))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make log of %s: %w", name, err)
	}
	return f, nil
}

// writeUML writes the kernel's process 1 and the command that it runs.
func (l *Lab) writeUML(o UMLOptions) (init string, err error) {
	binary, err := filepath.Abs(o.Binary)
	if err != nil {
		return "", err
	}
	var command strings.Builder
	for _, v := range slices.Concat(l.env(), o.Env) {
		name, value, _ := strings.Cut(v, "=")
		fmt.Fprintf(&command, "export %s=%s\n", name, quote(value))
	}
	fmt.Fprintf(&command, "exec %s", quote(binary))
	for _, arg := range o.Args {
		command.WriteString(" " + quote(arg))
	}
	init = filepath.Join(l.Dir, "uml.sh")
	return init, errors.Join(
		os.WriteFile(init, []byte(umlInit), 0o755),
		os.WriteFile(filepath.Join(l.Dir, "command"), []byte(command.String()), 0o644),
	)
}

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

// Alive reports whether the process still runs. A process 1 is alive until the last
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
	l := &Lab{ID: formID(mathrand.Uint32())}
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

func (l *Lab) printLogs(t testing.TB) {
	logs, _ := filepath.Glob(filepath.Join(l.Dir, "log", "*"))
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if said := tail(withoutChatter(string(data)), logTail); said != "" {
			t.Logf("%s:\n%s", filepath.Base(path), said)
		}
	}
}
