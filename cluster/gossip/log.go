package gossip

import (
	"context"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Counters count what went by since the start, for metrics and `gvlan
// members`.
type Counters struct {
	RefusedKey     uint64 // packets and streams not encrypted with a key of ours
	RefusedCluster uint64 // packets and streams with another cluster's label
	RefusedNode    uint64 // alive messages of nodes etcd does not know
	Conflicts      uint64 // two addresses claim one node name
	UDPBlocked     uint64 // probes that only TCP answered
	Dropped        uint64 // messages dropped because too many waited

	Joins uint64 // streams opened to join known but missing members
	Flaps uint64 // members that were declared failed and came back
}

// counters is Counters under a lock.
type counters struct {
	mu sync.Mutex
	c  Counters
}

func (c *counters) add(f func(*Counters)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.c)
}

func (c *counters) get() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.c
}

// condition is something memberlist meets and tells only in its log: it has
// neither hook nor metric nor error value for it, so its line is recognised
// by a part of the text. A test provokes each with the real library, so that
// an upgrade which words it differently is noticed.
type condition struct {
	text  string
	count func(*Counters)
}

var conditions = []condition{
	{"over TCP but UDP probes failed", func(c *Counters) { c.UDPBlocked++ }},
	{"with unacceptable label", func(c *Counters) { c.RefusedCluster++ }},
	{"no installed keys could decrypt", func(c *Counters) { c.RefusedKey++ }},
	{"remote state is not encrypted", func(c *Counters) { c.RefusedKey++ }},
	{"unsupported encryption version", func(c *Counters) { c.RefusedKey++ }},
	{"payload is too small to decrypt", func(c *Counters) { c.RefusedKey++ }},
	{"handler queue full", func(c *Counters) { c.Dropped++ }},
}

// conditionEvery is how often a lasting condition is logged; it is counted
// each time.
const conditionEvery = time.Minute

// logWriter turns memberlist's lines, "[WARN] memberlist: text", into slog
// records and counts the conditions among them.
type logWriter struct {
	log    *slog.Logger
	counts *counters

	mu   sync.Mutex
	said map[string]time.Time // condition: when it was last logged
}

// newLogger makes the log.Logger that memberlist wants.
func newLogger(l *slog.Logger, counts *counters) *log.Logger {
	return log.New(&logWriter{log: l, counts: counts, said: map[string]time.Time{}}, "", 0)
}

var _ io.Writer = (*logWriter)(nil)

// Write takes one line.
func (w *logWriter) Write(line []byte) (int, error) {
	level, text := splitLevel(strings.TrimSpace(string(line)))
	for _, c := range conditions {
		if strings.Contains(text, c.text) {
			w.counts.add(c.count)
			level = w.limit(c.text)
			break
		}
	}
	w.log.Log(context.Background(), level, text)
	return len(line), nil
}

// limit returns the level for a condition: a warning now and then.
func (w *logWriter) limit(text string) slog.Level {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.said[text]; ok && time.Since(last) < conditionEvery {
		return slog.LevelDebug
	}
	w.said[text] = time.Now()
	return slog.LevelWarn
}

// splitLevel reads memberlist's level. Its errors are about one packet or
// one connection, which gossip is made to survive: they are warnings here,
// and its remarks on a single suspicion are for debugging.
func splitLevel(line string) (slog.Level, string) {
	tag, text, ok := strings.Cut(line, " ")
	if !ok {
		return slog.LevelInfo, line
	}
	text = strings.TrimPrefix(text, "memberlist: ")
	switch tag {
	case "[DEBUG]", "[INFO]":
		return slog.LevelDebug, text
	case "[WARN]", "[ERR]", "[ERROR]":
		return slog.LevelWarn, text
	default:
		return slog.LevelInfo, line
	}
}
