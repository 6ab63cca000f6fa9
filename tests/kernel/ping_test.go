package kernel_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Who answers whom. No answer is waited for by the clock: what must come is
// waited for, and what must not come would have come before something else
// that was asked for later.

// reaches pings an address, or eth0 of a container, until it answers.
func reaches(whom string) check {
	return func(p *play, at place) error {
		addr, err := p.addressOf(whom)
		if err != nil {
			return err
		}
		return p.answered(at, addr, 1)
	}
}

// reachesEach is `ping -c 4` and the like: none of the first answers is missed.
func reachesEach(whom string, times int) check {
	return func(p *play, at place) error {
		addr, err := p.addressOf(whom)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(p.t.Context(), p.patience)
		defer cancel()
		var got, want []int
		said, err := at.ping(ctx, addr, func(line string) bool {
			if n := answerTo(line); n > 0 && len(got) < times {
				got = append(got, n)
			}
			return len(got) == times
		})
		for n := range times {
			want = append(want, n+1)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s pings %s: the first answers are to %v, want %v (%w): %s", at.name, whom, got, want, err, said)
		}
		return nil
	}
}

// cannotReach pings an address or container in vain, which answers somebody
// else: the witness, who asks later and is answered all the same. A container
// can be its own witness.
func cannotReach(whom, witness string) check {
	return func(p *play, at place) error {
		addr, err := p.addressOf(whom)
		if err != nil {
			return err
		}
		if err := p.answered(p.place(witness), addr, 1); err != nil {
			return fmt.Errorf("even the witness: %w", err)
		}
		if err := p.ignored(at, addr, p.place(witness)); err != nil {
			return fmt.Errorf("%s, which should not be reached: %w", whom, err)
		}
		return nil
	}
}

// answered waits until one ping from there has had so many answers.
func (p *play) answered(at place, addr string, times int) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), p.patience)
	defer cancel()
	for {
		answers := 0
		said, err := at.ping(ctx, addr, func(line string) bool {
			if answerTo(line) > 0 {
				answers++
			}
			return answers >= times
		})
		if answers >= times {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not reach %s in %s: %w: %s", at.name, addr, p.patience, err, said)
		}
		time.Sleep(100 * time.Millisecond) // it ended by itself: there is no route yet
	}
}

// ignored pings an address from there until the witness, who has to find it
// anew after several of those pings were sent, has answers to several of its
// own. None of the former may have one by then.
func (p *play) ignored(at place, addr string, witness place) error {
	const asked, witnessed = 3, 5
	ctx, cancel := context.WithTimeout(p.t.Context(), p.patience)
	defer cancel()
	unanswered, reached := 0, false
	var lost error
	said, err := at.ping(ctx, addr, func(line string) bool {
		reached = reached || answerTo(line) > 0
		if !unansweredPing.MatchString(line) {
			return reached
		}
		if unanswered++; unanswered == asked {
			if out, err := witness.try(ctx, "ip", "neigh", "flush", "all"); err != nil {
				lost = fmt.Errorf("forget neighbours of %s: %w: %s", witness.name, err, out)
			} else {
				lost = p.answered(witness, addr, witnessed)
			}
		}
		return reached || unanswered >= asked
	})
	switch {
	case reached:
		return fmt.Errorf("%s reaches %s: %s", at.name, addr, said)
	case lost != nil:
		return fmt.Errorf("the witness lost it meanwhile: %w", lost)
	case unanswered == 0, unanswered < asked && ctx.Err() != nil:
		return fmt.Errorf("%s sent no pings to %s: %w: %s", at.name, addr, err, said)
	}
	return nil
}

var (
	answeredPing = regexp.MustCompile(`bytes from .* icmp_seq=(\d+)`)
	// What ping -O says of a packet when it sends the next, and what it says
	// where there is no way to send one.
	unansweredPing = regexp.MustCompile(`no answer yet for icmp_seq=|ping: .*[Uu]nreachable`)
)

// answerTo is the number of the ping that a line of ping's tells the answer
// to, or 0.
func answerTo(line string) int {
	match := answeredPing.FindStringSubmatch(line)
	if match == nil {
		return 0
	}
	n, _ := strconv.Atoi(match[1])
	return n
}

// pause stands between two pings, in seconds: the less, the sooner a row is
// over, and in which order they are asked is all that matters.
const pause = "0.05"

// ping pings an address from there until a line of it is enough, or there is
// nowhere to ping to. Lines that were said by the end are all looked at.
func (p place) ping(ctx context.Context, addr string, enough func(line string) bool) (said string, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, "ping", "-n", "-O", "-i", pause, addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("ping from %s: %w", p.name, err)
	}
	cmd.Stderr = cmd.Stdout
	if err := p.start(cmd); err != nil {
		return "", fmt.Errorf("ping from %s: %w", p.name, err)
	}
	var last []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if last = append(last, lines.Text()); len(last) > 20 {
			last = last[1:]
		}
		if enough(lines.Text()) {
			stop()
		}
	}
	err = errors.Join(cmd.Wait(), ctx.Err())
	return strings.Join(last, "; "), err
}

// addressOf is an address as given, or the first of a container's eth0.
func (p *play) addressOf(whom string) (string, error) {
	if _, err := netip.ParseAddr(whom); err == nil {
		return whom, nil
	}
	out, err := p.place(whom).try(p.t.Context(), "ip", "-o", "addr", "show", "dev", "eth0", "scope", "global")
	if err != nil {
		return "", fmt.Errorf("ask %s for its address: %w: %s", whom, err, out)
	}
	for _, word := range strings.Fields(out) {
		if a, err := netip.ParsePrefix(word); err == nil {
			return a.Addr().String(), nil
		}
	}
	return "", fmt.Errorf("%s has no address: %s", whom, out)
}
