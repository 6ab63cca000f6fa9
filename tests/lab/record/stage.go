package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gvlan/tests/lab"
)

// settleTime is how long calls that no command waits for may take to come.
const settleTime = time.Second

// stage is where a scenario is played: one host with the recorder as its plugin. The
// first error of the lab itself ends the play; a docker command that fails is part of it.
type stage struct {
	ctx     context.Context
	host    *lab.Host
	plugin  *lab.Agent
	trace   *os.File
	control string
	err     error
}

func newStage(ctx context.Context, l *lab.Lab, plugin string) (*stage, error) {
	path := filepath.Join(l.Dir, "trace.jsonl")
	trace, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("make trace: %w", err)
	}
	s := &stage{ctx: ctx, host: l.Hosts[0], trace: trace, control: filepath.Join(l.Dir, "control.json")}
	s.plugin, err = s.host.StartAgent(ctx, lab.AgentOptions{
		Binary: plugin, Plugin: "recorder", Args: []string{"-trace", path, "-control", s.control},
	})
	return s, err
}

// line appends to the trace, between the plugin's own lines.
func (s *stage) line(v map[string]any) {
	if s.err != nil {
		return
	}
	v["at"] = time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	data, err := json.Marshal(v)
	if err == nil {
		_, err = s.trace.Write(append(data, '\n'))
	}
	s.err = errors.Join(s.err, err)
}

func (s *stage) note(text string) { s.line(map[string]any{"note": text}) }

// docker runs a docker command: the words of line, then more as they are.
func (s *stage) docker(line string, more ...string) {
	if s.err != nil {
		return
	}
	args := append(strings.Fields(line), more...)
	s.line(map[string]any{"command": "docker " + strings.Join(args, " ")})
	start := time.Now()
	out, err := s.host.Command(s.ctx, "docker", args...).CombinedOutput()
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		s.err = err
		return
	}
	s.line(map[string]any{
		"exit": code, "output": strings.TrimSpace(string(out)),
		"seconds": time.Since(start).Round(10 * time.Millisecond).Seconds(),
	})
}

// create makes the network lan1 with our driver and IPAM.
func (s *stage) create(flags string) {
	s.docker("network create -d recorder --ipam-driver recorder " + flags + " lan1")
}

// event does something other than a docker command.
func (s *stage) event(what string, f func() error) {
	if s.err != nil {
		return
	}
	s.line(map[string]any{"event": what})
	start := time.Now()
	if err := f(); err != nil {
		s.err = errors.Join(s.err, fmt.Errorf("%s: %w", what, err))
		return
	}
	s.line(map[string]any{"done": what, "seconds": time.Since(start).Round(10 * time.Millisecond).Seconds()})
}

func (s *stage) killEngine() { s.event("kill -9 dockerd", s.host.Engine.Kill) }
func (s *stage) startEngine() {
	s.event("start dockerd", func() error { return s.host.Engine.Start(s.ctx) })
}
func (s *stage) stopEngine() {
	s.event("stop dockerd", func() error { return s.host.Engine.Stop(s.ctx) })
}
func (s *stage) killPlugin()  { s.event("kill -9 plugin", s.plugin.Kill) }
func (s *stage) startPlugin() { s.event("start plugin", func() error { return s.plugin.Start(s.ctx) }) }

// wrong makes the plugin's calls go wrong from now on; see the recorder's control.go.
func (s *stage) wrong(control string) {
	s.event("plugin: "+control, func() error { return os.WriteFile(s.control, []byte(control), 0o644) })
}

func (s *stage) right() { s.wrong("{}") }

// settle waits for calls that Docker makes after its command returned.
func (s *stage) settle() { time.Sleep(settleTime) }
