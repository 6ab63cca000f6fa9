package gossip

import (
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
	means string // what a user is told
}

const (
	meansBlocked = "a peer answers by TCP and not by UDP: a firewall is in the way of the gossip's port"
	meansCluster = "gossip of another cluster comes in, and is refused: two clusters use one LAN and one port"
	meansKey     = "gossip comes in that no key of this cluster reads: a host has keys of before, or is of another cluster"
	meansFlood   = "more gossip comes in than this host works off: some of it is dropped"
)

var conditions = []condition{
	{"over TCP but UDP probes failed", func(c *Counters) { c.UDPBlocked++ }, meansBlocked},
	{"with unacceptable label", func(c *Counters) { c.RefusedCluster++ }, meansCluster},
	{"no installed keys could decrypt", func(c *Counters) { c.RefusedKey++ }, meansKey},
	{"remote state is not encrypted", func(c *Counters) { c.RefusedKey++ }, meansKey},
	{"unsupported encryption version", func(c *Counters) { c.RefusedKey++ }, meansKey},
	{"payload is too small to decrypt", func(c *Counters) { c.RefusedKey++ }, meansKey},
	{"handler queue full", func(c *Counters) { c.Dropped++ }, meansFlood},
}

// conditionOver is after how long without it a condition is over.
const conditionOver = 5 * time.Minute

// logWriter counts the conditions among memberlist's lines, "[WARN] memberlist:
// text", and tells of each when it begins and when it is over. The lines
// themselves are about one packet or one connection, which gossip is made to
// survive: they are for debugging.
type logWriter struct {
	log    *slog.Logger
	counts *counters

	mu      sync.Mutex
	lasting map[string]span // by what it means
}

// span is when a condition was met first and last.
type span struct{ first, last time.Time }

// newLogger makes the log.Logger that memberlist wants.
func newLogger(l *slog.Logger, counts *counters) *log.Logger {
	return log.New(&logWriter{log: l, counts: counts, lasting: map[string]span{}}, "", 0)
}

var _ io.Writer = (*logWriter)(nil)

// Write takes one line.
func (w *logWriter) Write(line []byte) (int, error) {
	_, text, _ := strings.Cut(strings.TrimSpace(string(line)), " ") // its level is memberlist's own
	text = strings.TrimPrefix(text, "memberlist: ")
	w.log.Debug(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tellWhatIsOver()
	for _, c := range conditions {
		if strings.Contains(text, c.text) {
			w.counts.add(c.count)
			w.met(c, text)
			break
		}
	}
	return len(line), nil
}

// met notes a condition, and tells of one that begins.
func (w *logWriter) met(c condition, text string) {
	now, lasting := time.Now(), w.lasting[c.means]
	if lasting.first.IsZero() {
		lasting.first = now
		w.log.Warn(c.means, "said", text)
	}
	lasting.last = now
	w.lasting[c.means] = lasting
}

// tellWhatIsOver is called with each line: memberlist writes one every half
// minute at least.
func (w *logWriter) tellWhatIsOver() {
	for means, lasting := range w.lasting {
		if time.Since(lasting.last) >= conditionOver {
			w.log.Info("over: "+means, "lasted", lasting.last.Sub(lasting.first).Round(time.Second))
			delete(w.lasting, means)
		}
	}
}
