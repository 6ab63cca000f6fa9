package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gvlan/driver/netns"
	"gvlan/driver/netns/netnstest"
	"gvlan/tests/chaos/history"
	"gvlan/tests/plugin"
)

// Host is one agent with the engine it serves, in a network namespace of its
// own, and its wires to etcd.
type Host struct {
	Name   string
	Engine *Engine
	Wires  []*Wire // one for each member of etcd

	dir    string
	binary string
	clock  string
	plugin *Plugin
	net    *netns.Namespace
	agent  *process
	inmate *exec.Cmd // a process of the host's containers

	swarm    *Swarm     // nil outside a swarm
	swarming sync.Mutex // held while the swarm's network is made here
	work     sync.WaitGroup

	mu      sync.Mutex
	wanted  bool          // the agent is to run; one that ended is started again
	kicked  chan struct{} // has an element when wanted changed
	closing bool
	ballast string // file that fills the disk
}

// dataSpace is how large the file system of an agent's data is, in bytes.
const dataSpace = 24 << 20

// NewHost prepares a host and starts its agent.
func NewHost(binary, dir, name string, etcd *Etcd, swarm *Swarm) (*Host, error) {
	h := &Host{Name: name, swarm: swarm, binary: binary, dir: filepath.Join(dir, name), kicked: make(chan struct{}, 1)}
	data := filepath.Join(h.dir, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, fmt.Sprintf("size=%d", dataSpace)); err != nil {
		return nil, fmt.Errorf("mount a small file system for an agent's data (root is needed): %w", err)
	}
	h.clock = filepath.Join(h.dir, "clock")
	if err := h.Jump(0); err != nil {
		return nil, err
	}
	var err error
	if h.net, err = netnstest.New(); err != nil {
		return nil, err
	}
	if err := h.plug(); err != nil {
		return nil, err
	}
	var endpoints []string
	for _, m := range etcd.Members {
		var l net.Listener
		err := h.net.Do(func() (err error) {
			l, err = net.Listen("tcp", "127.0.0.1:0")
			return err
		})
		if err != nil {
			return nil, err
		}
		h.Wires = append(h.Wires, NewWire(l, m.Client))
		endpoints = append(endpoints, "http://"+l.Addr().String())
	}
	socket := filepath.Join(h.dir, "docker.sock")
	h.plugin = newPlugin(filepath.Join(h.dir, "gvlan.sock"))
	if h.Engine, err = newEngine(socket, h.plugin, swarm); err != nil {
		return nil, err
	}
	h.agent = &process{
		path: binary, log: filepath.Join(h.dir, "agent.log"), env: []string{"GVLAN_CHAOS_CLOCK=" + h.clock},
		where: h.net.Do,
		args: []string{
			"agent", "--node-name", name, "--data-dir", data, "--plugin-socket-dir", h.dir, "--status-socket", filepath.Join(h.dir, "status.sock"),
			"--docker", "unix://" + socket, "--etcd-endpoints", strings.Join(endpoints, ","), "--advertise", "127.0.0.1",
			"--gossip", "off", "--dns", "off", "--log-level", "info",
		},
	}
	if swarm != nil {
		h.agent.args = append(h.agent.args, "--swarm", "--driver-name", swarmDriver)
	}
	h.wanted = true
	h.work.Go(h.supervise)
	return h, nil
}

// plug gives the host its interfaces, and its containers a namespace.
func (h *Host) plug() error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "lan0", "type", "veth", "peer", "name", "far0"},
		{"link", "set", "lan0", "up"}, {"link", "set", "far0", "up"},
	} {
		if err := h.net.Do(exec.Command("ip", args...).Run); err != nil {
			return fmt.Errorf("ip %s on %s: %w", strings.Join(args, " "), h.Name, err)
		}
	}
	inside, err := netnstest.New()
	if err != nil {
		return err
	}
	defer inside.Close()
	h.inmate = exec.Command("cat") // ends with the test, whose end closes its input
	if _, err := h.inmate.StdinPipe(); err != nil {
		return err
	}
	if err := inside.Do(h.inmate.Start); err != nil {
		return err
	}
	return nil
}

// sandbox is the path of a container's namespace. All containers of the host
// share one, with a process in it; the path is the container's own.
func (h *Host) sandbox(endpoint string) string { return filepath.Join(h.dir, "netns-"+endpoint[:12]) }

// openSandbox has the path be there.
func (h *Host) openSandbox(endpoint string) error {
	return os.Symlink(fmt.Sprintf("/proc/%d/ns/net", h.inmate.Process.Pid), h.sandbox(endpoint))
}

// supervise keeps the agent running while it is wanted, as its unit does.
func (h *Host) supervise() {
	for {
		h.mu.Lock()
		wanted, closing := h.wanted, h.closing
		h.mu.Unlock()
		if closing {
			return
		}
		if wanted && !h.agent.running() {
			_ = h.agent.start()
		}
		select {
		case <-h.kicked:
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (h *Host) want(so bool) {
	h.mu.Lock()
	h.wanted = so
	h.mu.Unlock()
	select {
	case h.kicked <- struct{}{}:
	default:
	}
}

// Kill ends the agent as kill -9 does; it stays away until Start.
func (h *Host) Kill() {
	h.want(false)
	h.agent.end(syscall.SIGKILL)
}

// Stop ends the agent in order.
func (h *Host) Stop() {
	h.want(false)
	h.agent.end(syscall.SIGTERM)
}

// Start has the agent run again.
func (h *Host) Start() { h.want(true) }

// Crash kills the agent, which its unit starts again.
func (h *Host) Crash() { h.agent.end(syscall.SIGKILL) }

// Pause stops the agent's process, Resume has it go on.
func (h *Host) Pause() { h.agent.signal(syscall.SIGSTOP) }

// Resume is the opposite of Pause.
func (h *Host) Resume() { h.agent.signal(syscall.SIGCONT) }

// Weather sets that of every wire.
func (h *Host) Weather(w Weather) {
	for _, wire := range h.Wires {
		wire.Set(w)
	}
}

// Hold keeps back what the agent has asked so far, until Deliver: its questions
// outlive it.
func (h *Host) Hold() {
	for _, wire := range h.Wires {
		wire.Hold()
	}
}

// Deliver brings what was held.
func (h *Host) Deliver() {
	for _, wire := range h.Wires {
		wire.Deliver()
	}
}

// Jump puts the wall clock of the agent off by so many seconds.
func (h *Host) Jump(seconds int64) error {
	next := h.clock + ".next"
	if err := os.WriteFile(next, []byte(strconv.FormatInt(seconds, 10)), 0o644); err != nil {
		return err
	}
	return os.Rename(next, h.clock)
}

// FillDisk leaves no room for what the agent writes, and FreeDisk does.
func (h *Host) FillDisk() error {
	h.ballast = filepath.Join(h.dir, "data", "ballast")
	f, err := os.Create(h.ballast)
	if err != nil {
		return err
	}
	defer f.Close()
	chunk := make([]byte, 64<<10)
	for {
		if _, err := f.Write(chunk); errors.Is(err, unix.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// FreeDisk is the opposite of FillDisk.
func (h *Host) FreeDisk() {
	if h.ballast != "" {
		_ = os.Remove(h.ballast)
	}
}

// Gvlan runs a command of gvlan against this host's agent.
func (h *Host) Gvlan(ctx context.Context, args ...string) (string, error) {
	args = append(args, "--status-socket", filepath.Join(h.dir, "status.sock"))
	cmd := exec.CommandContext(ctx, h.binary, args...)
	held, err := cmd.StdinPipe() // its end has the program end: see leash
	if err != nil {
		return "", err
	}
	defer held.Close()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("gvlan %s on %s: %w: %s", strings.Join(args, " "), h.Name, err, out)
	}
	return string(out), nil
}

// Close ends everything of the host.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	h.work.Wait()
	h.agent.end(syscall.SIGKILL)
	for _, w := range h.Wires {
		w.Close()
	}
	h.Engine.Close()
	_ = h.inmate.Process.Kill()
	_ = h.inmate.Wait()
	return errors.Join(h.net.Close(), unix.Unmount(filepath.Join(h.dir, "data"), unix.MNT_DETACH))
}

// Segment is the one that all networks of a run are of.
const Segment = "default"

func outcomeOf(err error) history.Outcome {
	switch {
	case err == nil:
		return history.OK
	case errors.Is(err, plugin.ErrNoAnswer):
		return history.Unknown
	}
	return history.Refused
}

func call(book *history.Book, do func() error) history.Call {
	c := history.Call{Began: book.Now()}
	err := do()
	c.Ended, c.Outcome = book.Now(), outcomeOf(err)
	if err != nil {
		c.Why = err.Error()
	}
	return c
}

// Run starts a container on a network with an address, the zero one for any:
// the calls that dockerd makes, and its rollback. The life is nil where the
// engine does not have the network.
func (h *Host) Run(ctx context.Context, book *history.Book, name string, asked netip.Addr) *history.Life {
	return h.RunWith(ctx, book, name, asked, func(netip.Addr) {})
}

// RunWith is Run with something happening between the request and the binding.
func (h *Host) RunWith(ctx context.Context, book *history.Book, name string, asked netip.Addr, between func(netip.Addr)) *history.Life {
	h.Engine.mu.Lock()
	n := h.Engine.find(name)
	h.Engine.mu.Unlock()
	if n == nil {
		return nil
	}
	n.turn.Lock()
	defer n.turn.Unlock()
	h.Engine.mu.Lock()
	there := h.Engine.networks[n.ID] == n
	h.Engine.mu.Unlock()
	if !there {
		return nil
	}
	life := book.Begin(history.Life{Host: h.Name, Network: name, Segment: Segment, Endpoint: newID(), Asked: asked})
	pool := n.Pools[0].PoolID
	var at netip.Prefix
	request := call(book, func() error {
		text := ""
		if asked.IsValid() {
			text = asked.String()
		}
		got, err := h.plugin.RequestAddress(ctx, pool, text, nil)
		if err != nil {
			return err
		}
		at, err = netip.ParsePrefix(got)
		return err
	})
	book.Change(life, func(l *history.Life) { l.Request, l.Address = request, at.Addr() })
	if request.Outcome != history.OK {
		return life
	}
	between(at.Addr())
	mac := ""
	bind := call(book, func() (err error) {
		mac, err = h.plugin.CreateEndpoint(ctx, n.ID, life.Endpoint, at)
		return err
	})
	if bind.Outcome == history.OK {
		book.Change(life, func(l *history.Life) { l.Bind = bind })
		h.Engine.mu.Lock()
		n.Endpoints[life.Endpoint] = Attached{life.Endpoint, at, mac}
		h.Engine.mu.Unlock()
		err := h.openSandbox(life.Endpoint)
		if err == nil {
			err = h.plugin.Join(ctx, n.ID, life.Endpoint, h.sandbox(life.Endpoint))
		}
		if err != nil {
			h.Halt(ctx, book, life)
		}
		return life
	}
	end := call(book, func() error { return h.plugin.ReleaseAddress(ctx, pool, at.Addr().String()) })
	book.Change(life, func(l *history.Life) { l.Bind, l.End = bind, end })
	return life
}

// Lose has all containers of the host be gone, as in a power cut.
func (h *Host) Lose() {
	h.Engine.forget()
	left, _ := filepath.Glob(filepath.Join(h.dir, "netns-*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
}

// Halt stops a container. What the agent answers, dockerd swallows.
func (h *Host) Halt(ctx context.Context, book *history.Book, life *history.Life) {
	h.HaltWith(ctx, book, life, func() {})
}

// HaltWith is Halt with something happening before the release.
func (h *Host) HaltWith(ctx context.Context, book *history.Book, life *history.Life, between func()) {
	h.Engine.mu.Lock()
	n := h.Engine.find(life.Network)
	h.Engine.mu.Unlock()
	if n == nil {
		return
	}
	began := book.Now()
	book.Change(life, func(l *history.Life) { l.End = history.Call{Began: began, Ended: began, Outcome: history.Unknown} })
	end := call(book, func() error {
		err := errors.Join(h.plugin.Leave(ctx, n.ID, life.Endpoint), h.plugin.DeleteEndpoint(ctx, n.ID, life.Endpoint))
		between()
		return errors.Join(err, h.plugin.ReleaseAddress(ctx, n.Pools[0].PoolID, life.Address.String()))
	})
	_ = os.Remove(h.sandbox(life.Endpoint))
	h.Engine.mu.Lock()
	delete(n.Endpoints, life.Endpoint)
	h.Engine.mu.Unlock()
	book.Change(life, func(l *history.Life) {
		end.Began = l.End.Began
		l.End = end
	})
}

// CreateNetwork is `docker network create` on this host.
func (h *Host) CreateNetwork(ctx context.Context, name, subnet string, aux map[string]string, ipam map[string]string) error {
	driver := "gvlan"
	if h.swarm != nil {
		driver = swarmDriver
	}
	request := networkRequest{Name: name, Driver: driver, Options: map[string]string{"parent": "lan0"}}
	if h.swarm != nil {
		request.Options["scope"] = "local" // a swarm's plugin has no others
	}
	request.IPAM.Driver, request.IPAM.Options = driver, ipam
	request.IPAM.Config = []poolRequest{{Subnet: subnet, AuxiliaryAddresses: aux}}
	_, err := h.Engine.make(ctx, request)
	return err
}
