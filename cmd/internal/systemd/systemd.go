// Package systemd tells systemd that the agent is ready, lives and stops
// (sd_notify(3)). docker.service is ordered after the agent's unit, so "ready"
// is what Docker's containers wait for.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells systemd how the agent is (sd_notify(3)). Without systemd it
// only logs.
type Notifier struct {
	send     func(state string) error
	after    func(time.Duration) <-chan time.Time
	watchdog time.Duration // systemd kills an agent silent for so long; 0: never
	alive    func(context.Context) error
	log      *slog.Logger
}

// New reads what systemd put into the environment. alive is asked
// before each sign of life; while it errs there is none.
func New(alive func(context.Context) error, log *slog.Logger) (*Notifier, error) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read systemd's watchdog interval: %w", err)
	}
	return &Notifier{
		send: func(state string) error {
			_, err := daemon.SdNotify(false, state)
			return err
		},
		after:    time.After,
		watchdog: watchdog,
		alive:    alive,
		log:      log,
	}, nil
}

// ErrGoesOn ends the context of Run, as its cause, when the process goes on without
// it: what systemd is told that it stops, it kills after a while.
var ErrGoesOn = errors.New("the agent begins anew in its process")

// startMargin is what a start may take beside the wait for etcd.
const startMargin = time.Minute

// Run reports ready when opened closes (etcd answered) or after wait,
// whichever is first: docker.service is ordered after this unit, and dockerd
// starts its containers once and does not try again. It ends with ctx,
// reporting that the agent stops unless that is for ErrGoesOn.
func (n *Notifier) Run(ctx context.Context, opened <-chan struct{}, wait time.Duration) {
	n.tell(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (wait + startMargin).Microseconds()))
	n.tell("STATUS=waiting for etcd")
	giveUp := n.after(wait)
	sign := n.nextSign()
	for {
		select {
		case <-ctx.Done():
			n.end(context.Cause(ctx))
			return
		case <-opened:
			n.tell(daemon.SdNotifyReady + "\nSTATUS=etcd answers")
			opened, giveUp = nil, nil
		case <-giveUp:
			n.log.Warn("etcd did not answer in time; letting Docker start without it", "waited", wait)
			n.tell(daemon.SdNotifyReady + "\nSTATUS=etcd has not answered yet; new addresses fail until it does")
		case <-sign:
			n.live(ctx)
			sign = n.nextSign()
		}
	}
}

// end says why there is nothing more to say. One that goes on gets the whole of the
// watchdog's interval to begin anew.
func (n *Notifier) end(why error) {
	switch {
	case !errors.Is(why, ErrGoesOn):
		n.tell(daemon.SdNotifyStopping)
	case n.watchdog > 0:
		n.tell(daemon.SdNotifyWatchdog)
	}
}

// nextSign is due three times per watchdog interval, so that one that is
// late does no harm.
func (n *Notifier) nextSign() <-chan time.Time {
	if n.watchdog == 0 {
		return nil
	}
	return n.after(n.watchdog / 3)
}

// live gives a sign of life if the agent deserves it.
func (n *Notifier) live(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.watchdog/3)
	defer cancel()
	if err := n.alive(ctx); err != nil {
		if ctx.Err() != context.Canceled {
			n.log.Error("the plugin does not answer itself: systemd's watchdog is not told that the agent lives", "err", err)
		}
		return
	}
	n.tell(daemon.SdNotifyWatchdog)
}

func (n *Notifier) tell(state string) {
	if err := n.send(state); err != nil {
		n.log.Warn("systemd was not told", "state", state, "err", err)
	}
}

// Journals reports whether the journal of systemd reads what this process
// prints.
func Journals() bool { return os.Getenv("JOURNAL_STREAM") != "" }
