package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gvlan/tests/lab"
)

// patience bounds waits for what happens by itself; no step is judged by it.
const patience = 2 * time.Minute

// demo is two hosts on one LAN.
type demo struct {
	*lab.Lab
	ctx    context.Context // of the whole demo
	h1, h2 *lab.Host
}

// newDemo builds gvlan and brings the hosts up.
func newDemo(ctx context.Context) (*demo, error) {
	say("Building gvlan, and starting two hosts, h1 and h2, on one LAN. Each runs a Docker engine of its own, release %s (gvlan works with 20.10 as well).", lab.Docker28)
	built, err := lab.Build(ctx, "gvlan/cmd/gvlan", "-trimpath", "-ldflags=-X main.version="+version(ctx))
	if err != nil {
		return nil, err
	}
	l, err := lab.Up(ctx, lab.Options{Hosts: lab.Same(2, lab.Docker28)})
	if err != nil {
		return nil, err
	}
	d := &demo{Lab: l, ctx: ctx, h1: l.Hosts[0], h2: l.Hosts[1]}
	if err := d.install(built); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// version is what `gvlan --version` is to say, as make build sets it.
func version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// install puts gvlan where the hosts look for programs.
func (d *demo) install(built string) error {
	program, err := os.ReadFile(built)
	if err != nil {
		return fmt.Errorf("install gvlan: %w", err)
	}
	shared := filepath.Join(d.Dir, "gvlan")
	if err := os.WriteFile(shared, program, 0o755); err != nil {
		return fmt.Errorf("install gvlan: %w", err)
	}
	for _, h := range d.Hosts {
		if _, err := h.Exec(d.ctx, "ln", "-sf", shared, "/usr/bin/gvlan"); err != nil {
			return fmt.Errorf("install gvlan on %s: %w", h.Name, err)
		}
	}
	return nil
}

// say tells what the next commands are for.
func say(format string, args ...any) { fmt.Printf("\n# "+format+"\n", args...) }

// typed shows a command as a user types it on a host.
func typed(h *lab.Host, words []string) {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if strings.ContainsAny(w, " {}'\"$&|;") {
			quoted[i] = "'" + w + "'"
		}
	}
	fmt.Printf("root@%s:~# %s\n", h.Name, strings.Join(quoted, " "))
}

// printed shows what a command printed.
func printed(out string) {
	if out != "" {
		fmt.Println(strings.TrimRight(out, "\n"))
	}
}

// do runs a command on a host and shows both; it must succeed.
func (d *demo) do(h *lab.Host, words ...string) (string, error) {
	typed(h, words)
	out, err := h.Exec(d.ctx, words[0], words[1:]...)
	printed(out)
	return out, err
}

// want is do for a command whose output must have these words.
func (d *demo) want(has string, h *lab.Host, words ...string) error {
	out, err := d.do(h, words...)
	if err == nil && !strings.Contains(out, has) {
		err = fmt.Errorf("%s on %s does not show %q", strings.Join(words, " "), h.Name, has)
	}
	return err
}

// refused is do for a command that must fail and say these words.
func (d *demo) refused(says string, h *lab.Host, words ...string) error {
	var out []byte
	// Docker tells a container's name after the container runs: until gvlan
	// has heard it, the holder is an endpoint's number.
	err := d.wait("the refusal to name the holder", func() error {
		var err error
		out, err = h.Command(d.ctx, words[0], words[1:]...).CombinedOutput()
		if err == nil {
			return fmt.Errorf("%s on %s succeeded", strings.Join(words, " "), h.Name)
		}
		if !strings.Contains(string(out), says) {
			return fmt.Errorf("%s on %s says %q, want %q", strings.Join(words, " "), h.Name, out, says)
		}
		return nil
	})
	typed(h, words)
	printed(string(out))
	return err
}

// wait tries until a condition holds.
func (d *demo) wait(what string, holds func() error) error {
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// explain shows the ends of the agents' logs, for a step that failed.
func (d *demo) explain() {
	const lines = 30
	logs, _ := filepath.Glob(filepath.Join(d.Dir, "log", "*-gvlan-*"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		all := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Printf("\n# The end of %s:\n%s\n", filepath.Base(path), strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
}
