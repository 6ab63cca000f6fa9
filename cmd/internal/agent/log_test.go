package agent

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"unicode"

	"gvlan/cmd/internal/config"
)

func TestLog(t *testing.T) {
	tests := []struct {
		name    string
		config  config.Config
		systemd bool
		want    []string
		without []string
	}{
		{name: "text", config: config.Config{LogLevel: "info", LogFormat: "text"}, want: []string{"time=", `msg="it runs"`, "node=n1"}, without: []string{"detail"}},
		{name: "text in the journal", config: config.Config{LogLevel: "debug", LogFormat: "text"}, systemd: true, want: []string{"level=INFO", "detail"}, without: []string{"time="}},
		{name: "json", config: config.Config{LogLevel: "warn", LogFormat: "json"}, systemd: true, want: []string{`"level":"WARN"`, `"time":`}, without: []string{"it runs"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			log, err := newLog(test.config, &out, test.systemd)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("detail")
			log.Info("it runs", "node", "n1")
			log.Warn("careful")
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("log lacks %q:\n%s", want, out.String())
				}
			}
			for _, unwanted := range test.without {
				if strings.Contains(out.String(), unwanted) {
					t.Errorf("log has %q:\n%s", unwanted, out.String())
				}
			}
		})
	}
}

func TestLogIsVisible(t *testing.T) {
	const odd = "odd\x1b[2J\u009b\nh9\th9"
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log, err := newLog(config.Config{LogLevel: "info", LogFormat: format}, &out, false)
		if err != nil {
			t.Fatal(err)
		}
		log.Warn("host "+odd, odd, odd, "nested", slog.GroupValue(slog.Any("error", io.EOF), slog.String("host", odd)))
		shown := strings.TrimSuffix(out.String(), "\n")
		if !strings.Contains(shown, "odd") || strings.ContainsFunc(shown, unicode.IsControl) {
			t.Errorf("%s: logged %q", format, shown)
		}
	}
}
