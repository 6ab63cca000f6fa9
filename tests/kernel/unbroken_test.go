package kernel_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// way is from a container or host to an address or container that it reaches.
type way struct{ from, to string }

func (w way) String() string { return w.from + " -> " + w.to }

// stream is a ping every 10 ms for as long as something is done.
type stream struct {
	way
	stop context.CancelFunc
	over chan struct{} // closed when ping has ended

	mu       sync.Mutex
	answered map[int]bool
	last     int // the highest number that was answered
	said     string
}

// settled is how many pings have to be answered after one before it counts as lost:
// an answer that is late has come by then.
const settled = 50

// stream begins to ping and returns when the first answer is there.
func (p *play) stream(w way) (*stream, error) {
	addr, err := p.addressOf(w.to)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(p.t.Context())
	s := &stream{way: w, stop: stop, over: make(chan struct{}), answered: map[int]bool{}}
	cmd := exec.CommandContext(ctx, "ping", "-n", "-i", "0.01", addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		stop()
		return nil, fmt.Errorf("ping %s: %w", w, err)
	}
	cmd.Stderr = cmd.Stdout
	if err := p.place(w.from).start(cmd); err != nil {
		stop()
		return nil, fmt.Errorf("ping %s: %w", w, err)
	}
	go func() {
		defer close(s.over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.note(lines.Text())
		}
		_ = cmd.Wait() // it was killed
	}()
	if err := s.goesOn(p.patience, 1); err != nil {
		stop()
		return nil, err
	}
	return s, nil
}

func (s *stream) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := answerTo(line); n > 0 {
		s.answered[n] = true
		s.last = max(s.last, n)
	} else if !strings.HasPrefix(line, "PING") {
		s.said = line
	}
}

func (s *stream) now() (answers, last int, said string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.answered), s.last, s.said
}

// goesOn waits for so many further answers.
func (s *stream) goesOn(patience time.Duration, more int) error {
	began, _, _ := s.now()
	deadline := time.Now().Add(patience)
	for {
		answers, last, said := s.now()
		if answers >= began+more {
			return nil
		}
		select {
		case <-s.over:
			return fmt.Errorf("ping %s has ended at number %d: %s", s.way, last, said)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("ping %s is not answered since number %d: %s", s.way, last, said)
		}
	}
}

// end ends it, when what was sent until now would have been answered, and names the
// pings that were not.
func (s *stream) end(patience time.Duration) error {
	err := s.goesOn(patience, 2*settled)
	s.stop()
	<-s.over
	until := s.last - settled
	var lost []string
	for n := 1; n <= until; n++ {
		if !s.answered[n] {
			lost = append(lost, fmt.Sprint(n))
		}
	}
	if len(lost) > 0 {
		err = errors.Join(err, fmt.Errorf("ping %s: %d of %d had no answer: %s", s.way, len(lost), until, strings.Join(lost, " ")))
	}
	return err
}

// unbroken pings each of these ways, once in 10 ms, and gives what waits for a while and
// what ends it: not one ping may have been lost by then.
func (p *play) unbroken(ways ...way) (more, end func()) {
	p.t.Helper()
	var all []*stream
	for _, w := range ways {
		s, err := p.stream(w)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, s)
	}
	more = func() {
		p.t.Helper()
		for _, s := range all {
			if err := s.goesOn(p.patience, settled); err != nil {
				p.t.Error(err)
			}
		}
	}
	return more, func() {
		p.t.Helper()
		for _, s := range all {
			if err := s.end(p.patience); err != nil {
				p.t.Error(err)
			}
			p.t.Logf("ping %s: %d answered", s.way, s.last)
		}
	}
}

// routeLog records what changes in a host's routes, as `ip monitor` tells it.
type routeLog struct {
	at    place
	lines <-chan string
	stop  context.CancelFunc
}

// What was told before the route to one of these, which stands for nothing, happened
// before it was made.
const (
	logBegins = "198.51.100.1"
	logEnds   = "198.51.100.2"
)

// logRoutes begins to record.
func (p *play) logRoutes(host string) (*routeLog, error) {
	at := p.place(host)
	ctx, stop := context.WithCancel(p.t.Context())
	cmd := exec.CommandContext(ctx, "ip", "monitor", "route")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = at.start(cmd)
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("record routes of %s: %w", host, err)
	}
	lines := make(chan string, 1<<16)
	go func() {
		defer close(lines)
		for told := bufio.NewScanner(out); told.Scan(); {
			lines <- told.Text()
		}
		_ = cmd.Wait() // it was killed
	}()
	l := &routeLog{at: at, lines: lines, stop: stop}
	// It listens when it tells of a route, which is made until it does.
	for {
		if err := l.mark(p.t.Context(), logBegins); err != nil {
			stop()
			return nil, err
		}
		select {
		case <-lines:
			return l, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (l *routeLog) mark(ctx context.Context, addr string) error {
	out, err := l.at.try(ctx, "sh", "-c", "ip route add blackhole "+addr+" && ip route del blackhole "+addr)
	if err != nil {
		return fmt.Errorf("mark the routes of %s: %w: %s", l.at.name, err, out)
	}
	return nil
}

// end is what was recorded until now.
func (l *routeLog) end(ctx context.Context) ([]string, error) {
	defer l.stop()
	if err := l.mark(ctx, logEnds); err != nil {
		return nil, err
	}
	var told []string
	for line := range l.lines {
		switch {
		case strings.Contains(line, logEnds):
			return told, nil
		case !strings.Contains(line, logBegins):
			told = append(told, strings.TrimSpace(line))
		}
	}
	return nil, fmt.Errorf("ip monitor on %s ended: %v", l.at.name, told)
}

// steadily records the routes of hosts, and gives what ends that: no route by way of
// another host may have gone by then, not even to come back, but for the one to an
// address whose container moves.
func (p *play) steadily(moves string, hosts ...string) (end func()) {
	p.t.Helper()
	var logs []*routeLog
	for _, host := range hosts {
		l, err := p.logRoutes(host)
		if err != nil {
			p.t.Fatal(err)
		}
		logs = append(logs, l)
	}
	return func() {
		p.t.Helper()
		for _, l := range logs {
			told, err := l.end(p.t.Context())
			if err != nil {
				p.t.Error(err)
			}
			for _, line := range told {
				if strings.HasPrefix(line, "Deleted ") && strings.Contains(line, " via ") && !strings.HasPrefix(line, "Deleted "+moves+" ") {
					p.t.Errorf("a route of %s went: %s", l.at.name, line)
				}
			}
			p.t.Logf("routes of %s meanwhile: %s", l.at.name, strings.Join(told, "; "))
		}
	}
}
