package systemd

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// puppet is a notifier whose clock and systemd are the test's.
type puppet struct {
	*Notifier
	sent   chan string
	timers map[time.Duration]chan time.Time
	ended  chan struct{}
}

func newPuppet(watchdog time.Duration, alive func(context.Context) error) *puppet {
	p := &puppet{
		sent:   make(chan string, 64),
		timers: map[time.Duration]chan time.Time{bootWait: make(chan time.Time, 1), watchdog / 3: make(chan time.Time)},
		ended:  make(chan struct{}),
	}
	p.Notifier = &Notifier{
		send:     func(state string) error { p.sent <- state; return nil },
		after:    func(d time.Duration) <-chan time.Time { return p.timers[d] },
		watchdog: watchdog,
		alive:    alive,
		log:      slog.New(slog.DiscardHandler),
	}
	return p
}

const bootWait = 90 * time.Second

// start runs the notifier and returns what stops it.
func (p *puppet) start(t *testing.T, opened <-chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(p.ended)
		p.Run(ctx, opened, bootWait)
	}()
	stop = func() { cancel(); <-p.ended }
	t.Cleanup(stop)
	return stop
}

// expect waits for the next message and compares its first line.
func (p *puppet) expect(t *testing.T, want string) {
	t.Helper()
	got, _, _ := strings.Cut(<-p.sent, "\n")
	if got != want {
		t.Fatalf("told systemd %q, want %q", got, want)
	}
}

func TestReadyWhenEtcdAnswers(t *testing.T) {
	p := newPuppet(0, nil)
	opened := make(chan struct{})
	stop := p.start(t, opened)
	p.expect(t, "EXTEND_TIMEOUT_USEC=150000000")
	p.expect(t, "STATUS=waiting for etcd")
	close(opened)
	p.expect(t, "READY=1")
	stop()
	p.expect(t, "STOPPING=1")
	if len(p.sent) > 0 {
		t.Errorf("then told systemd %q", <-p.sent)
	}
}

// TestGoesOn: systemd kills what says that it stops, so an agent that begins anew in
// its process does not.
func TestGoesOn(t *testing.T) {
	for _, watchdog := range []time.Duration{0, 30 * time.Second} {
		p := newPuppet(watchdog, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			defer close(p.ended)
			p.Run(ctx, nil, bootWait)
		}()
		p.expect(t, "EXTEND_TIMEOUT_USEC=150000000")
		p.expect(t, "STATUS=waiting for etcd")
		cancel(ErrGoesOn)
		<-p.ended
		if watchdog > 0 {
			p.expect(t, "WATCHDOG=1")
		}
		if len(p.sent) > 0 {
			t.Errorf("with a watchdog of %s it then told systemd %q", watchdog, <-p.sent)
		}
	}
}

func TestReadyWhenTheWaitIsOver(t *testing.T) {
	p := newPuppet(0, nil)
	opened := make(chan struct{})
	p.start(t, opened)
	p.expect(t, "EXTEND_TIMEOUT_USEC=150000000")
	p.expect(t, "STATUS=waiting for etcd")
	p.timers[bootWait] <- time.Time{}
	p.expect(t, "READY=1")
	close(opened) // the status line must follow
	if got, want := <-p.sent, "READY=1\nSTATUS=etcd answers"; got != want {
		t.Errorf("told systemd %q, want %q", got, want)
	}
}

// TestTheWaitEndsWithTheAnswer: a wait that is over later changes nothing.
func TestTheWaitEndsWithTheAnswer(t *testing.T) {
	p := newPuppet(30*time.Second, func(context.Context) error { return nil })
	opened := make(chan struct{})
	p.start(t, opened)
	p.expect(t, "EXTEND_TIMEOUT_USEC=150000000")
	p.expect(t, "STATUS=waiting for etcd")
	close(opened)
	p.expect(t, "READY=1")
	p.timers[bootWait] <- time.Time{}
	for range 20 { // each has an even chance to be overtaken by the wait
		p.timers[10*time.Second] <- time.Time{}
		p.expect(t, "WATCHDOG=1")
	}
}

func TestNotReadyWhenStoppedBefore(t *testing.T) {
	p := newPuppet(0, nil)
	stop := p.start(t, make(chan struct{}))
	p.expect(t, "EXTEND_TIMEOUT_USEC=150000000")
	p.expect(t, "STATUS=waiting for etcd")
	stop()
	p.expect(t, "STOPPING=1")
}

func TestWatchdogNeedsALivingAgent(t *testing.T) {
	answers := make(chan error, 3)
	p := newPuppet(30*time.Second, func(context.Context) error { return <-answers })
	p.start(t, make(chan struct{}))
	p.expect(t, "EXTEND_TIMEOUT_USEC=150000000")
	p.expect(t, "STATUS=waiting for etcd")
	for _, answer := range []error{nil, errors.New("stuck"), nil} {
		answers <- answer
		p.timers[10*time.Second] <- time.Time{}
	}
	p.expect(t, "WATCHDOG=1")
	p.expect(t, "WATCHDOG=1")
	p.timers[bootWait] <- time.Time{} // in order behind the signs of life
	p.expect(t, "READY=1")
}
