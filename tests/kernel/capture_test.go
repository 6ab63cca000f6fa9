package kernel_test

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// hears listens on an interface of the watcher while a script runs, until a
// line of tcpdump (with -e) matches the last pattern of want, which the script
// causes last. Lines match the patterns of want in some order, and none those
// of never. Packets that came earlier than the last are all seen by then.
func hears(watcher, iface, script string, want, never []string) check {
	return func(p *play, at place) error {
		ctx, cancel := context.WithTimeout(p.t.Context(), patience)
		defer cancel()
		lines, err := p.place(watcher).listen(ctx, iface)
		if err != nil {
			return err
		}
		if out, err := at.sh(ctx, script); err != nil {
			return fmt.Errorf("%s on %s: %w: %s", script, at.name, err, out)
		}
		last := regexp.MustCompile(want[len(want)-1])
		var heard []string
		for line := range lines {
			heard = append(heard, line)
			if last.MatchString(line) {
				return judge(heard, want, never)
			}
		}
		return fmt.Errorf("%s heard on %s of %s:\n%s\nwant %v", script, iface, watcher, strings.Join(heard, "\n"), want)
	}
}

func judge(heard, want, never []string) error {
	all := strings.Join(heard, "\n")
	for _, pattern := range want {
		if !regexp.MustCompile(pattern).MatchString(all) {
			return fmt.Errorf("heard nothing like %q in\n%s", pattern, all)
		}
	}
	for _, pattern := range never {
		if regexp.MustCompile(pattern).MatchString(all) {
			return fmt.Errorf("heard something like %q in\n%s", pattern, all)
		}
	}
	return nil
}

// listen gives tcpdump's lines until ctx ends; the first packet after its
// return is in them.
func (p place) listen(ctx context.Context, iface string) (<-chan string, error) {
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+p.ns, "--", "tcpdump", "-Z", "root", "--immediate-mode", "-l", "-n", "-e", "-i", iface)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
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
