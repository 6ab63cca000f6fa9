// Package zaplog hands the log lines of etcd's client and server, which
// speak zap, to log/slog.
package zaplog

import (
	"context"
	"log/slog"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The same message is written sameMost times in samePeriod: whoever opens
// connections and says nothing makes etcd say so once for each.
const (
	sameMost   = 10
	samePeriod = time.Minute
)

// New returns a zap logger that writes what is at least as grave as from to
// log, at the slog level that as gives for it; the same message, whatever its
// fields, some times a minute only.
func New(log *slog.Logger, from zapcore.Level, as func(zapcore.Entry) slog.Level) *zap.Logger {
	return zap.New(zapcore.NewSamplerWithOptions(&core{LevelEnabler: from, log: log, as: as}, samePeriod, sameMost, 0))
}

// Level maps zap's levels to the slog levels of the same meaning.
func Level(e zapcore.Entry) slog.Level {
	switch l := e.Level; {
	case l <= zapcore.DebugLevel:
		return slog.LevelDebug
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Debug maps every level to slog's debug level, for a logger whose warnings
// its caller gets as errors anyhow.
func Debug(zapcore.Entry) slog.Level { return slog.LevelDebug }

type core struct {
	zapcore.LevelEnabler
	log *slog.Logger
	as  func(zapcore.Entry) slog.Level
}

// With implements zapcore.Core.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{LevelEnabler: c.LevelEnabler, log: c.log.With(attrs(fields)...), as: c.as}
}

// Check implements zapcore.Core.
func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) && c.log.Enabled(context.Background(), c.as(e)) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Log(context.Background(), c.as(e), e.Message, attrs(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c *core) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]any, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		if value, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, value))
		}
	}
	return out
}
