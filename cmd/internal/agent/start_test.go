package agent

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"gvlan/cmd/internal/config"
)

func TestIdentify(t *testing.T) {
	const machine = "0123456789abcdef0123456789abcdef"
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := []struct {
		name      string
		config    config.Config
		machineID *fstest.MapFile
		want      string // node
		wantErr   string
	}{
		{name: "machine id", machineID: file(machine + "\n"), want: machine},
		{name: "given", config: config.Config{NodeName: "host1"}, machineID: file(machine), want: "host1"},
		{name: "given, no machine id", config: config.Config{NodeName: "host1"}, want: "host1"},
		{name: "managed plugin", config: config.Config{Swarm: true}, machineID: file(machine), want: machine + ".swarm"},
		{name: "managed plugin with a name", config: config.Config{Swarm: true, NodeName: "host1"}, want: "host1.swarm"},
		{name: "managed plugin, suffix given", config: config.Config{Swarm: true, NodeName: "host1.swarm"}, want: "host1.swarm"},
		{name: "no machine id", wantErr: "or give --node-name"},
		{name: "first boot of an image", machineID: file("uninitialized\n"), wantErr: `says "uninitialized"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{"proc/sys/kernel/random/boot_id": file("boot-uuid\n")}
			if test.machineID != nil {
				root["etc/machine-id"] = test.machineID
			}
			got, err := identify(test.config, "install-uuid", "host", root)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error is %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := Identity{Node: test.want, Install: "install-uuid", Boot: "boot-uuid", Host: "host"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

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
