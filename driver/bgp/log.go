package bgp

import (
	"context"
	"log/slog"
	"net/netip"
)

// ear hears what the library logs. It goes to the agent's log at debug: what people
// are to know of is said by Failing. What is said of a peer is kept, because the
// library has no other place for why no session comes to be.
type ear struct {
	to    slog.Handler
	says  func(about netip.Addr, said said)
	about netip.Addr
}

// said is what a line tells of a connection to a peer.
type said struct {
	failed       string // to connect, or to make sense of the peer: why
	refused      bool   // it answered by a NOTIFICATION
	closed       bool   // the peer ended the connection before there was a session
	code, detail int64  // of a NOTIFICATION (RFC 4271, 4.5)
}

// judged reports whether one of the two found fault with what the other said.
func (s said) judged() bool { return s.refused || s.code != 0 }

// Enabled implements slog.Handler.
func (e *ear) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (e *ear) Handle(ctx context.Context, r slog.Record) error {
	if e.about.IsValid() {
		var s said
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "Error":
				s.failed = a.Value.String()
			case "reason":
				s.closed = true
			case "old":
				s.closed = false // it is a change of state, which is told elsewhere
				return false
			case "Code":
				s.code = a.Value.Int64()
			case "Subcode":
				s.detail = a.Value.Int64()
			}
			return true
		})
		if s != (said{}) {
			e.says(e.about, s)
		}
	}
	if !e.to.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	r.Level, r.Message = slog.LevelDebug, "bgp: "+r.Message
	return e.to.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (e *ear) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *e
	more.to = e.to.WithAttrs(attrs)
	for _, a := range attrs {
		if a.Key == "Key" {
			more.about, _ = netip.ParseAddr(a.Value.String())
		}
	}
	return &more
}

// WithGroup implements slog.Handler.
func (e *ear) WithGroup(name string) slog.Handler {
	more := *e
	more.to = e.to.WithGroup(name)
	return &more
}
