package agent

import (
	"fmt"
	"io"
	"log/slog"

	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// newLog makes the agent's logger. Under systemd the journal stamps every
// line itself, so text lines then carry no time of their own.
func newLog(c config.Config, out io.Writer, underSystemd bool) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("set --log-level: %w", err)
	}
	out = terminal.NewWriter(out)
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options)), nil
	}
	if underSystemd {
		options.ReplaceAttr = withoutTime
	}
	return slog.New(slog.NewTextHandler(out, options)), nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
