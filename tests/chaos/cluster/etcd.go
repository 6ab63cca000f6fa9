package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// process is a program that is killed, stopped and started again.
type process struct {
	path string
	args []string
	env  []string
	log  string
	// where starts it: in a namespace of its own, for one.
	where func(start func() error) error

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	held, err := cmd.StdinPipe() // its end has the program end: see leash
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begin := cmd.Start
	if p.where != nil {
		begin = func() error { return p.where(cmd.Start) }
	}
	if err := begin(); err != nil {
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		_ = cmd.Wait()
		_ = held.Close()
		p.mu.Lock()
		if p.cmd == cmd {
			p.cmd = nil
		}
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// signal sends a signal to the process, if it runs.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// end sends a signal and waits until the process has gone.
func (p *process) end(sig syscall.Signal) {
	p.mu.Lock()
	done, cmd := p.done, p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	if sig != syscall.SIGKILL {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		select {
		case <-done:
			return
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
		}
	}
	<-done
}

// Etcd is the members of one cluster on this machine.
type Etcd struct {
	Members []*Member
	binary  string
	dir     string
	life    int
}

// Member is one etcd process.
type Member struct {
	Client  string // host:port
	peer    string
	name    string
	dir     string
	process *process
}

// StartEtcd starts a cluster of so many members.
func StartEtcd(ctx context.Context, binary, dir string, members int) (*Etcd, error) {
	e := &Etcd{binary: binary, dir: dir}
	for i := range members {
		client, err := freePort()
		if err != nil {
			return nil, err
		}
		peer, err := freePort()
		if err != nil {
			return nil, err
		}
		e.Members = append(e.Members, &Member{Client: client, peer: peer, name: fmt.Sprintf("m%d", i+1)})
	}
	e.prepare()
	return e, e.launch(ctx)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (e *Etcd) peers() string {
	var all []string
	for _, m := range e.Members {
		all = append(all, m.name+"=http://"+m.peer)
	}
	return strings.Join(all, ",")
}

func (e *Etcd) prepare() {
	for _, m := range e.Members {
		m.dir = filepath.Join(e.dir, fmt.Sprintf("%s-life%d", m.name, e.life))
		m.process = &process{path: e.binary, log: filepath.Join(e.dir, m.name+".log"), args: []string{
			"--name", m.name, "--data-dir", m.dir, "--log-level", "warn", "--logger", "zap",
			"--listen-client-urls", "http://" + m.Client, "--advertise-client-urls", "http://" + m.Client,
			"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
			"--initial-cluster", e.peers(), "--initial-cluster-token", "chaos", "--heartbeat-interval", "50", "--election-timeout", "500",
		}}
	}
}

func (e *Etcd) launch(ctx context.Context) error {
	for _, m := range e.Members {
		if err := m.process.start(); err != nil {
			return err
		}
	}
	return e.Ready(ctx)
}

// Ready waits until the cluster answers a linearizable read.
func (e *Etcd) Ready(ctx context.Context) error {
	client, err := e.Dial()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(one, "ready")
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("etcd does not come up: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Dial connects to every member, past all wires.
func (e *Etcd) Dial() (*clientv3.Client, error) {
	var endpoints []string
	for _, m := range e.Members {
		endpoints = append(endpoints, "http://"+m.Client)
	}
	return clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: time.Second, DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second, Logger: zap.NewNop()})
}

// Kill ends a member as kill -9 does.
func (m *Member) Kill() { m.process.end(syscall.SIGKILL) }

// Start starts it again on the data it has.
func (m *Member) Start() error { return m.process.start() }

// Pause stops a member's process, Resume has it go on.
func (m *Member) Pause() { m.process.signal(syscall.SIGSTOP) }

// Resume is the opposite of Pause.
func (m *Member) Resume() { m.process.signal(syscall.SIGCONT) }

// Kill ends every member.
func (e *Etcd) Kill() {
	for _, m := range e.Members {
		m.process.signal(syscall.SIGCONT)
		m.Kill()
	}
}

// Backup saves the store as it is.
func (e *Etcd) Backup(ctx context.Context, file string) error {
	var failed error
	for _, m := range e.Members {
		config := clientv3.Config{Endpoints: []string{"http://" + m.Client}, DialTimeout: time.Second}
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := snapshot.NewV3(zap.NewNop()).Save(one, config, file)
		cancel()
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// Restore kills all members and starts a cluster anew from a backup.
func (e *Etcd) Restore(ctx context.Context, file string) error {
	e.Kill()
	e.life++
	e.prepare()
	for _, m := range e.Members {
		err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
			SnapshotPath: file, Name: m.name, OutputDataDir: m.dir, PeerURLs: []string{"http://" + m.peer},
			InitialCluster: e.peers(), InitialClusterToken: fmt.Sprintf("chaos%d", e.life), SkipHashCheck: false,
		})
		if err != nil {
			return fmt.Errorf("restore %s: %w", m.name, err)
		}
	}
	return e.launch(ctx)
}
