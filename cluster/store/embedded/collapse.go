package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
)

// ErrStuck is returned by Run when etcd collapsed and holds its files still: it
// can only be started by another process.
var ErrStuck = errors.New("the embedded etcd cannot be started again by this process")

// closeLimit is how long etcd may take to end after it collapsed. In order it
// takes seconds.
const closeLimit = 15 * time.Second

// collapse is where etcd gives up: it logs what it cannot go on from as fatal,
// or as a panic, and counts on the process to end there. This one has
// containers to look after: only the goroutine that met it ends, which writes and
// sends nothing more, and Run ends the server.
type collapse struct {
	happened chan struct{}
	once     sync.Once
	err      error // once happened is closed
}

func newCollapse() *collapse { return &collapse{happened: make(chan struct{})} }

// OnWrite implements zapcore.CheckWriteHook.
func (c *collapse) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	c.once.Do(func() {
		c.err = errors.New(entry.Message)
		for _, f := range fields {
			if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
				c.err = fmt.Errorf("%s: %w", entry.Message, err)
			}
		}
		close(c.happened)
	})
	runtime.Goexit()
}

// explain is what happened, for who runs the server.
func (c *collapse) explain(dir string) error {
	if errors.Is(c.err, syscall.ENOSPC) || errors.Is(c.err, syscall.EDQUOT) {
		return noSpace(dir, c.err)
	}
	return fmt.Errorf("the embedded etcd gave up: %w", c.err)
}

// attempt calls f on a goroutine that may end there. It reports whether f came
// to its end.
func attempt(f func()) (finished bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
		finished = true
	}()
	<-done
	return finished
}

// end closes a server, which waits for its goroutines. One that collapsed may have
// left what they wait for. It reports whether it came to its end.
func (c *collapse) end(etcd *embed.Etcd) bool {
	closed := make(chan struct{})
	go func() {
		if attempt(etcd.Close) {
			close(closed)
		}
	}()
	select {
	case <-closed:
		return true
	case <-c.happened:
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	}
}
