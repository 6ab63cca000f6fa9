package docker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// listenBoth listens for datagrams and streams, in the namespace of the
// thread.
func listenBoth(ctx context.Context, addr string) (net.PacketConn, net.Listener, error) {
	packets, err := new(net.ListenConfig).ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, nil, err
	}
	streams, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	return packets, streams, err
}

// namesWithoutAgent: Docker's resolver answers as if gvlan had never been,
// at once when the agent stops in order, by the kernel when it is killed;
// and what was known still resolves while etcd is away.
func namesWithoutAgent(n *named) {
	n.dualNetwork("outage", 6)
	h1, h2 := n.Hosts[0], n.Hosts[1]
	asks, near, far := n.start(h1, "outage", 6, "asks"), n.start(h1, "outage", 6, "near"), n.start(h2, "outage", 6, "far")
	asks.gets("far", "A", far.v4)
	n.etcdAway(asks, near, far)

	if err := n.agents[0].Stop(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	if got := asks.rules(); got != "" {
		n.t.Errorf("after the agent stopped asks has rules %q, want none", got)
	}
	n.onlyDocker(asks, near, far)
	n.startAgain(0)
	asks.gets("far", "A", far.v4)

	n.killedUnderLoad(asks, near, far)
	n.crashedUnderLoad(asks, near)
}

// onlyDocker: Docker's own resolver knows its host's containers and the
// world, and nothing of ours.
func (n *named) onlyDocker(asks, near, far member) {
	n.t.Helper()
	asks.neverGets("far", "A")
	asks.neverGets("far.outage.gvlan.internal", "A")
	asks.neverGets(reverse(n.t, netip.MustParseAddr(far.v4)), "PTR")
	asks.gets("near", "A", near.v4)
	asks.gets(external, "A", externalAddr)
}

// etcdAway: answers come from memory.
func (n *named) etcdAway(asks, near, far member) {
	n.t.Helper()
	if err := n.etcd.Stop(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	asks.gets("far", "A", far.v4)
	asks.gets("far", "AAAA", far.v6)
	asks.gets("far.outage.gvlan.internal", "A", far.v4)
	asks.gets(reverse(n.t, netip.MustParseAddr(far.v4)), "PTR", "far.outage.gvlan.internal.")
	far.gets("near", "A", near.v4)
	asks.gets(external, "A", externalAddr)
	n.startEtcdAgain()
	asks.gets("far", "A", far.v4)
}

// killedUnderLoad kills the agent while names are asked for all the time, by
// one client that opens a socket for each question and one that keeps its
// socket. near is known to Docker too: the time without an answer is the gap
// that the kernel's hand-over leaves.
func (n *named) killedUnderLoad(asks, near, far member) {
	loads := []*load{newLoad(n, asks.asker, near.v4, false), newLoad(n, asks.asker, near.v4, true)}
	for _, l := range loads {
		l.goOn()
	}
	if err := n.agents[0].Kill(); err != nil {
		n.t.Fatal(err)
	}
	for _, l := range loads {
		l.goOn() // nobody but Docker's resolver is left to answer
	}
	n.onlyDocker(asks, near, far)
	n.startAgain(0)
	asks.gets("far", "A", far.v4)
	for i, l := range loads {
		l.goOn()
		l.finish()
		l.wantFar(far.v4)
		l.report("killed", i)
	}
}

// crashedUnderLoad kills the agent and starts it again at once, as systemd
// does: the gap then ends with the new agent, not with the kernel's hand-over.
func (n *named) crashedUnderLoad(asks, near member) {
	loads := []*load{newLoad(n, asks.asker, near.v4, false), newLoad(n, asks.asker, near.v4, true)}
	for _, l := range loads {
		l.goOn()
	}
	if err := n.agents[0].Kill(); err != nil {
		n.t.Fatal(err)
	}
	n.startAgain(0)
	for i, l := range loads {
		l.goOn()
		l.finish()
		l.report("restarted", i)
	}
}

// report prints the longest time without an answer, of the first or second
// kind of client.
func (l *load) report(how string, kind int) {
	fmt.Printf("BENCH dns_gap_agent_%s_%s_socket_docker_%s_s %.2f\n", how, []string{"new", "kept"}[kind], l.n.release(), l.gap.Seconds())
}

// load asks for one name, a thousand times a second if it can.
type load struct {
	n    *named
	from asker
	want string
	keep bool // the socket
	conn net.Conn

	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	right int // answers since the last look
	last  time.Time
	gap   time.Duration // the longest without an answer
	err   error         // the last
}

func newLoad(n *named, from asker, want string, keep bool) *load {
	n.t.Helper()
	ctx, stop := context.WithCancel(n.t.Context())
	l := &load{n: n, from: from, want: want, keep: keep, stop: stop, last: time.Now()}
	l.conn = must(from.dial("udp", dockerResolver))(n.t)
	n.t.Cleanup(func() { stop(); l.done.Wait(); _ = l.conn.Close() })
	l.done.Go(func() { l.run(ctx) })
	return l
}

func (l *load) run(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := l.once()
		l.mu.Lock()
		if err == nil {
			l.gap = max(l.gap, time.Since(l.last))
			l.last = time.Now()
			l.right++
		} else {
			l.err = err
		}
		l.mu.Unlock()
	}
}

// once asks; a client that keeps its socket asks on it again whatever came.
func (l *load) once() error {
	conn := l.conn
	if !l.keep {
		var err error
		if conn, err = l.from.dial("udp", dockerResolver); err != nil {
			return err
		}
		defer conn.Close()
	}
	got, err := exchange(conn, "near", 200*time.Millisecond)
	if err == nil && got != l.want {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

// exchange asks for one address. Answers to earlier questions are passed
// over.
func exchange(conn net.Conn, name string, patience time.Duration) (string, error) {
	q := question(name, miekg.TypeA)
	packet, err := q.Pack()
	if err != nil {
		return "", err
	}
	if _, err := conn.Write(packet); err != nil {
		return "", err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	buffer := make([]byte, 4096)
	for {
		size, err := conn.Read(buffer)
		if err != nil {
			return "", err
		}
		var m miekg.Msg
		if m.Unpack(buffer[:size]) != nil || m.Id != q.Id {
			continue
		}
		if len(m.Answer) != 1 {
			return "", fmt.Errorf("%w: %s", errNoAnswer, miekg.RcodeToString[m.Rcode])
		}
		return data(m.Answer)[0], nil
	}
}

var errNoAnswer = errors.New("no address in the answer")

// goOn waits until it was answered again, often.
func (l *load) goOn() {
	l.n.t.Helper()
	l.mu.Lock()
	l.right = 0
	l.mu.Unlock()
	eventually(l.n.t, "lookups to be answered", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.right < 20 {
			return fmt.Errorf("%d right answers, the last error was %w", l.right, l.err)
		}
		return nil
	})
}

func (l *load) finish() {
	l.stop()
	l.done.Wait()
}

// wantFar: a socket that lived through it all is ours again.
func (l *load) wantFar(want string) {
	l.n.t.Helper()
	eventually(l.n.t, "a kept socket to get names of other hosts", func() error {
		got, err := exchange(l.conn, "far", time.Second)
		if err == nil && got != want {
			err = fmt.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}
