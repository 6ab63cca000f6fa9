package kernel_test

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// hears listens on an interface of the watcher while a script runs, until each
// pattern has matched a line of tcpdump (with -e), and no line has matched
// those of never until then: what must not be heard comes, if it does, before
// the last that must. The kernel hands on broadcasts later than what was sent to
// one: a script that is to prove that there are none goes on for a while.
func hears(watcher, iface, script string, want, never []string) check {
	return func(p *play, at place) error {
		ctx, cancel := context.WithTimeout(p.t.Context(), p.patience)
		defer cancel()
		lines, err := p.place(watcher).listen(ctx, iface)
		if err != nil {
			return err
		}
		if out, err := at.sh(ctx, script); err != nil {
			return fmt.Errorf("%s on %s: %w: %s", script, at.name, err, out)
		}
		var heard strings.Builder
		for line := range lines {
			heard.WriteString(line + "\n")
			if missing(want, heard.String()) == "" {
				break
			}
		}
		if pattern := missing(want, heard.String()); pattern != "" {
			return fmt.Errorf("%s on %s: heard nothing like %q on %s of %s:\n%s", script, at.name, pattern, iface, watcher, heard.String())
		}
		for _, pattern := range never {
			if missing([]string{pattern}, heard.String()) == "" {
				return fmt.Errorf("%s on %s: heard something like %q on %s of %s:\n%s", script, at.name, pattern, iface, watcher, heard.String())
			}
		}
		return nil
	}
}

// untilAnswered is a script of pings that goes on until one is answered.
func untilAnswered(ping string) string { return "until ping -q " + ping + "; do :; done" }

// missing is the first pattern that nothing matches, or "".
func missing(patterns []string, heard string) string {
	for _, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(heard) {
			return pattern
		}
	}
	return ""
}

// listen gives tcpdump's lines until ctx ends; the first packet after its
// return is in them.
func (p place) listen(ctx context.Context, iface string) (<-chan string, error) {
	cmd := exec.CommandContext(ctx, "tcpdump", "-Z", "root", "--immediate-mode", "-l", "-n", "-e", "-i", iface)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.start(cmd); err != nil {
		return nil, fmt.Errorf("listen on %s of %s: %w", iface, p.name, err)
	}
	said := bufio.NewScanner(stderr)
	listening := false
	for !listening && said.Scan() {
		listening = strings.HasPrefix(said.Text(), "listening on")
	}
	if !listening {
		return nil, fmt.Errorf("tcpdump does not listen on %s of %s: %w", iface, p.name, cmd.Wait())
	}
	lines := make(chan string, 4096)
	go func() {
		defer close(lines)
		for heard := bufio.NewScanner(stdout); heard.Scan(); {
			lines <- heard.Text()
		}
		_ = cmd.Wait() // it was killed
	}()
	return lines, nil
}
