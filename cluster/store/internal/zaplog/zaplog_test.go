package zaplog_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"gvlan/cluster/store/internal/zaplog"
)

func TestLinesReachSlog(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	z := zaplog.New(log, zapcore.WarnLevel, zaplog.Level)
	z.Info("too quiet")
	z.With(zap.String("member", "gvlan")).Warn("slow", zap.Int("ms", 300))
	z.Error("broken", zap.Error(errors.New("disk full")))
	zaplog.New(log, zapcore.WarnLevel, zaplog.Debug).Warn("retried")
	want := "level=WARN msg=slow member=gvlan ms=300\n" +
		"level=ERROR msg=broken error=\"disk full\"\n" +
		"level=DEBUG msg=retried\n"
	if out.String() != want {
		t.Fatalf("got:\n%swant:\n%s", out.String(), want)
	}
}

// A flood of one message is cut off, and keeps no other from being written.
func TestFloodIsBounded(t *testing.T) {
	var out bytes.Buffer
	z := zaplog.New(slog.New(slog.NewTextHandler(&out, nil)), zapcore.WarnLevel, zaplog.Level)
	for i := range 1000 {
		z.Warn("rejected connection", zap.Int("port", i))
	}
	z.Warn("disk is slow")
	if n := bytes.Count(out.Bytes(), []byte("rejected connection")); n < 1 || n > 20 { // 10, or twice where a minute ends
		t.Errorf("a message that came 1000 times was written %d times", n)
	}
	if !bytes.Contains(out.Bytes(), []byte("disk is slow")) {
		t.Error("another message was not written")
	}
}
