package frame

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/terminal"
)

// patience is how long a command may take before it says what it waits for.
const patience = time.Second

// Wait says what a command waits for, on stderr, once that takes longer than a
// second: on a terminal in a line that renews itself, elsewhere in a line each.
type Wait struct {
	out   io.Writer
	renew bool

	mu    sync.Mutex
	what  string
	began time.Time
	shown string // what the last line said; "" when none stands

	done  chan struct{}
	end   sync.Once
	ended sync.WaitGroup
}

// agentWait finds in a command's context the wait that Answered began.
type agentWait struct{}

// Answered is ask, of this host's agent: that is what the command waits for, while
// nothing says it more closely.
func Answered[T any](c *cobra.Command, ask func() (T, error)) (T, error) {
	w := Waiting(c, "this host's agent to answer")
	defer w.End()
	c.SetContext(context.WithValue(c.Context(), agentWait{}, w))
	return ask()
}

// Waiting begins to wait for what; End ends it.
func Waiting(c *cobra.Command, what string) *Wait {
	if c.Context() != nil {
		if general, ok := c.Context().Value(agentWait{}).(*Wait); ok {
			general.End()
		}
	}
	out := c.ErrOrStderr()
	w := &Wait{out: out, renew: terminal.Is(out), what: what, began: time.Now(), done: make(chan struct{})}
	w.ended.Go(w.run)
	return w
}

// For says that the command waits for something else now.
func (w *Wait) For(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.what = what
}

// End ends the wait, and takes its line away where that can be done. A command
// that prints while it may still fail ends it twice.
func (w *Wait) End() { w.end.Do(w.stop) }

func (w *Wait) stop() {
	close(w.done)
	w.ended.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.renew && w.shown != "" {
		terminal.RenewLine(w.out, "")
	}
}

func (w *Wait) run() {
	ticks := time.NewTicker(patience)
	defer ticks.Stop()
	for {
		select {
		case <-w.done:
			return
		case now := <-ticks.C:
			w.show(now)
		}
	}
}

func (w *Wait) show(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := "waiting for " + w.what
	switch {
	case w.renew:
		terminal.RenewLine(w.out, fmt.Sprintf("%s (%s)", line, terminal.Since(w.began, now)))
	case line != w.shown:
		fmt.Fprintln(w.out, line)
	}
	w.shown = line
}
