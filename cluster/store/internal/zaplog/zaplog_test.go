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
