package kernel_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/tests/lab"
)

// check looks at something after a row, from the container that the row
// started or the host it was typed on.
type check func(p *play, at place) error

// link has a link of that name, which is what is described: see
// place.describe.
func link(name, described string) check {
	return func(p *play, at place) error {
		l, err := at.link(p.t.Context(), name)
		if err != nil {
			return err
		}
		got, err := at.describe(p.t.Context(), l)
		if err != nil {
			return err
		}
		if got != described {
			return fmt.Errorf("link %s of %s is %q, want %q", name, at.name, got, described)
		}
		if !slices.Contains(l.Flags, "UP") {
			return fmt.Errorf("link %s of %s is down: %v", name, at.name, l.Flags)
		}
		return nil
	}
}

// flags are those of a link in the first line of `ip -d link`.
func flags(name, want string) check {
	return func(p *play, at place) error {
		l, err := at.link(p.t.Context(), name)
		if err != nil {
			return err
		}
		if got := strings.Join(l.Flags, ","); got != want {
			return fmt.Errorf("flags of link %s of %s are <%s>, want <%s>", name, at.name, got, want)
		}
		return nil
	}
}

// gone is a link that must not be there.
func gone(name string) check {
	return func(p *play, at place) error {
		all, err := at.links(p.t.Context())
		if err != nil {
			return err
		}
		for _, l := range all {
			if l.Name == name {
				return fmt.Errorf("%s still has link %s", at.name, name)
			}
		}
		return nil
	}
}

// there is a link that must be there, whatever it is.
func there(name string) check {
	return func(p *play, at place) error {
		_, err := at.link(p.t.Context(), name)
		return err
	}
}

// lowest stands for the last byte of the first address of a network without a
// gateway: an engine before 28 insists on one for a gateway all the same, so
// that there the second is given.
const lowest = "<lowest>"

func (p *play) settle(want string) string {
	last := "1"
	if p.Hosts[0].Engine.Release == lab.Docker20 {
		last = "2"
	}
	return strings.ReplaceAll(want, lowest, last)
}

// address is one that eth0 has.
func address(want string) check {
	return func(p *play, at place) error {
		out, err := at.try(p.t.Context(), "ip", "-o", "addr", "show", "dev", "eth0")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if want := p.settle(want); !slices.Contains(strings.Fields(out), want) {
			return fmt.Errorf("eth0 of %s has not %s but %s", at.name, want, out)
		}
		return nil
	}
}

// inSubnet is an IPv4 address that eth0 has in some subnet of the prefix.
func inSubnet(prefix string) check {
	return func(p *play, at place) error {
		out, err := at.try(p.t.Context(), "ip", "-4", "-o", "addr", "show", "dev", "eth0")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, word := range strings.Fields(out) {
			if a, err := netip.ParsePrefix(word); err == nil && netip.MustParsePrefix(prefix).Contains(a.Addr()) {
				return nil
			}
		}
		return fmt.Errorf("eth0 of %s has no address in %s but %s", at.name, prefix, out)
	}
}

// routes are all lines of `ip route`.
func routes(want ...string) check { return routesOf("-4", want) }

// routes6 are all lines of `ip -6 route`, without the link-local ones.
func routes6(want ...string) check { return routesOf("-6", want) }

func routesOf(family string, want []string) check {
	return func(p *play, at place) error {
		got, err := at.routes(p.t.Context(), family)
		if err != nil {
			return err
		}
		var lines []string
		for _, line := range want {
			lines = append(lines, p.settle(line))
		}
		slices.Sort(got)
		slices.Sort(lines)
		if diff := cmp.Diff(lines, got, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Errorf("routes of %s (-want +got):\n%s", at.name, diff)
		}
		return nil
	}
}

// later waits until a check holds.
func later(c check) check {
	return func(p *play, at place) error {
		deadline := time.Now().Add(p.patience)
		for {
			err := c(p, at)
			if err == nil || time.Now().After(deadline) {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// either is for networks of two subnets: Docker's command line hands them over
// in no order, so that either is the first.
func either(one, other []check) check {
	all := func(p *play, at place, checks []check) error {
		for _, c := range checks {
			if err := c(p, at); err != nil {
				return err
			}
		}
		return nil
	}
	return func(p *play, at place) error {
		first := all(p, at, one)
		if first == nil {
			return nil
		}
		if err := all(p, at, other); err != nil {
			return fmt.Errorf("neither: %w; nor: %w", first, err)
		}
		return nil
	}
}

// hurried waits only a little for what will never come.
func hurried(c check) check {
	return func(p *play, at place) error {
		now := *p
		now.patience = 5 * time.Second
		return c(&now, at)
	}
}

// fails is true of a check that is not.
func fails(c check) check {
	return func(p *play, at place) error {
		if c(p, at) == nil {
			return fmt.Errorf("a check of %s holds that should not", at.name)
		}
		return nil
	}
}

// from makes a check elsewhere than where the row was typed.
func from(name string, c check) check {
	return func(p *play, _ place) error { return c(p, p.place(name)) }
}

// ownMAC is true of a container that has another MAC than its parent.
func ownMAC(parent string) check { return macs(parent, false) }

// parentsMAC is true of a container that has its parent's MAC.
func parentsMAC(parent string) check { return macs(parent, true) }

func macs(parent string, same bool) check {
	return func(p *play, at place) error {
		own, err := at.link(p.t.Context(), "eth0")
		if err != nil {
			return err
		}
		above, err := hostPlace(at.host).link(p.t.Context(), parent)
		if err != nil {
			return err
		}
		if (own.MAC == above.MAC) != same {
			return fmt.Errorf("%s has MAC %s, its parent %s has %s; want the same: %t", at.name, own.MAC, parent, above.MAC, same)
		}
		return nil
	}
}

// otherMAC is true of a container that has another MAC than this one.
func otherMAC(than string) check {
	return func(p *play, at place) error {
		own, err := at.link(p.t.Context(), "eth0")
		if err != nil {
			return err
		}
		other, err := p.place(than).link(p.t.Context(), "eth0")
		if err != nil {
			return err
		}
		if own.MAC == other.MAC {
			return fmt.Errorf("%s and %s both have MAC %s", at.name, than, own.MAC)
		}
		return nil
	}
}

// typed runs shell commands.
func typed(script string) check {
	return func(p *play, at place) error {
		out, err := at.sh(p.t.Context(), script)
		if err != nil {
			return fmt.Errorf("%s on %s: %w: %s", script, at.name, err, out)
		}
		return nil
	}
}

// knows is another container's name as the agent answers it to this one, and
// as its listener answers it to the host.
func knows(who, network string) check {
	return later(func(p *play, at place) error {
		want, err := p.addressOf(who)
		if err != nil {
			return err
		}
		out, err := at.host.Exec(p.t.Context(), p.program, "dns", "lookup", "--from", at.name, who)
		if err != nil || !slices.Contains(strings.Fields(out), want) {
			return fmt.Errorf("for %s the name %s is %q, want %s (%w)", at.name, who, out, want, err)
		}
		full := who + "." + network + ".gvlan.internal"
		out, err = hostPlace(at.host).try(p.t.Context(), "dig", "+short", "+tries=1", "-p", "5354", "@127.0.0.1", full)
		if err != nil || out != want {
			return fmt.Errorf("for %s the name %s is %q, want %s (%w)", at.host.Name, full, out, want, err)
		}
		return nil
	})
}

// dummies are the links of that kind on the host.
func dummies(want int) check {
	return func(p *play, at place) error {
		all, err := at.links(p.t.Context())
		if err != nil {
			return err
		}
		got := 0
		for _, l := range all {
			if l.Info.Kind == "dummy" {
				got++
			}
		}
		if got != want {
			return fmt.Errorf("%s has %d dummies, want %d", at.name, got, want)
		}
		return nil
	}
}

// mtu is a link's, in bytes.
func mtu(name string, want int) check {
	return func(p *play, at place) error {
		l, err := at.link(p.t.Context(), name)
		if err != nil {
			return err
		}
		if l.MTU != want {
			return fmt.Errorf("MTU of %s of %s is %d, want %d", name, at.name, l.MTU, want)
		}
		return nil
	}
}

// inConflict is an address that `gvlan conflict ls` on h1 lists, with the container of
// that host that has it ("" where none has) and the peer's MAC address.
func inConflict(addr, container string) check {
	return func(p *play, _ place) error {
		stranger, err := p.place("peer").link(p.t.Context(), "eth0")
		if err != nil {
			return err
		}
		want := []string{addr, stranger.MAC}
		if container != "" {
			want = append(want, container, "on", "h1")
		}
		out, err := p.Hosts[0].Exec(p.t.Context(), p.program, "conflict", "ls", "--format", "{{.Address}} {{.MAC}} {{.Container}}")
		for line := range strings.Lines(out) {
			if slices.Equal(strings.Fields(line), want) {
				return nil
			}
		}
		return fmt.Errorf("it does not list %v (%w): %s", want, err, out)
	}
}

// announcesInConflict has a machine say that it has an address before that is looked
// for.
func announcesInConflict(addr, container string) check {
	return func(p *play, at place) error {
		if out, err := at.try(p.t.Context(), "arping", "-c", "1", "-U", "-I", "eth0", addr); err != nil {
			return fmt.Errorf("announce %s: %w: %s", addr, err, out)
		}
		return inConflict(addr, container)(p, at)
	}
}
