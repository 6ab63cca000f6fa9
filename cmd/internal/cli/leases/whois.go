package leases

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/survey"
)

// errUnknown ends a whois that found nobody, and has said so.
var errUnknown = errors.New("nothing is known of it")

// NewWhois is `gvlan whois`.
func NewWhois() *cobra.Command {
	c := &cobra.Command{
		Use: "whois ADDRESS|MAC|NAME", Short: "Say whose an address, a MAC address or a name is, and who had it before", Args: cobra.ExactArgs(1),
		Long: "Says whose an address is: its network, container, host and MAC, since when, and who had it within the last day.\n" +
			"Who answers for an address that no container has is asked on the LAN then and there, at this host's parents.\n" +
			"A NAME is that of a container (on any host, running or stopped, or its id), one in the DNS, a host or a network.\n" +
			"What is reserved for a container of that name, or with that MAC address, is listed with who has it now.\n" +
			"The exit status is 1 when nothing is known.",
		Example: "  gvlan whois 192.168.1.20\n  gvlan whois 02:42:c0:a8:01:14\n  gvlan whois web",
	}
	known := true
	ask := func(c *cobra.Command, client *api.Client, args []string) (answer api.WhoisAnswer, err error) {
		wait := frame.Waiting(c, "the LAN, whether anybody answers for "+args[0])
		defer wait.End()
		if err := client.Get(c.Context(), api.Whois(args[0]), &answer); err != nil {
			return answer, err
		}
		known = slices.ContainsFunc(answer.Found, api.Found.Known)
		return answer, nil
	}
	frame.Showing(c, ask, func(c *cobra.Command, _ *api.Client, answer api.WhoisAnswer) error {
		if len(answer.Found) == 0 {
			hint := ""
			if len(answer.Near) > 0 {
				hint = "; did you mean " + strings.Join(answer.Near, " or ") + "?"
			}
			return fmt.Errorf("no address, container, host or network here is called %s%s", c.Flags().Arg(0), hint)
		}
		return printFound(c.OutOrStdout(), answer.Found, time.Now())
	})
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		err := run(c, args)
		if err == nil && !known {
			return frame.Told(errUnknown)
		}
		return err
	}
	return frame.Completes(c, frame.Anything)
}

// printFound prints a block for each.
func printFound(out io.Writer, all []api.Found, now time.Time) error {
	terminal.InCells(&all)
	for i, found := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		var f facts
		var asOf time.Time
		switch found.Kind {
		case api.FoundAddress:
			f.lease(*found.Lease, now)
			f.lan(found)
			for _, l := range found.Learnt {
				f.add("learnt", fmt.Sprintf("%s, by container %s on %s (SLAAC): not leased", l.Address, l.Container, l.Host))
			}
			for _, w := range found.Wants {
				if w.Removed {
					f.add("wanted", fmt.Sprintf("by the next container called %s, as the one that was removed on %s", w.Container, w.Host))
				} else {
					f.add("wanted", fmt.Sprintf("by stopped container %s on %s, when it starts", w.Container, w.Host))
				}
			}
			asOf = found.Lease.AsOf
		case api.FoundMAC:
			f.add("mac", found.MAC)
			f.add("state", "no container of gvlan's has it")
			for _, m := range found.Met {
				f.add("lan", fmt.Sprintf("this host met it as %s at %s", m.Address, m.Parent))
			}
		case api.FoundContainer:
			f.add("container", found.Container)
			f.add("state", "it has no address now")
			for _, w := range found.Wants {
				did := "stopped"
				if w.Removed {
					did = "removed"
				}
				f.add(did, fmt.Sprintf("on %s; when it starts it wants %s of network %s", w.Host, w.Address, terminal.OrDash(w.Network)))
			}
		case api.FoundReserved:
			f.reserved(*found.Reserved)
		case api.FoundHost:
			f.add("host", found.Host.Host)
			f.add("state", fmt.Sprintf("%s, %s on gvlan's networks", api.Word(found.Host.State), counted(found.Host.Containers, "container")))
			f.add("address", found.Host.Address)
			f.add("more", "gvlan node inspect "+found.Host.Host)
		case api.FoundNetwork:
			f.add("network", found.Network.Name)
			if found.Network.Node != "" {
				f.add("host", found.Network.Node+", the only one that has it")
			}
			f.add("subnets", strings.Join(found.Network.Subnets, ", "))
			f.add("state", counted(found.Network.Containers, "container"))
			f.add("more", "gvlan network inspect "+found.Network.Name)
		}
		f.before(found.Last, found.Kind != api.FoundAddress, now)
		if err := f.print(out); err != nil {
			return err
		}
		if err := printAge(out, asOf); err != nil {
			return err
		}
	}
	return nil
}

// reserved tells of a reservation, and who has its address now.
func (f *facts) reserved(r api.Reserved) {
	f.add("reserved", r.Address.String()+" of network "+r.Network)
	f.add("for", r.For)
	f.add("mac", r.MAC)
	f.add("note", r.Note)
	switch {
	case r.Host == "":
		f.add("now", "nobody has it")
	case r.Container == "":
		f.add("now", "a container on "+r.Host+" has it")
	default:
		f.add("now", "container "+r.Container+" on "+r.Host+" has it")
	}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// lan tells what the LAN said of an address.
func (f *facts) lan(found api.Found) {
	l := found.LAN
	switch {
	case l == nil:
		return
	case len(l.Answers) > 0:
		for _, answer := range l.Answers {
			words := fmt.Sprintf("MAC %s answers on the LAN at %s", answer.MAC, answer.Parent)
			switch {
			case answer.Of != "":
				words += ": " + answer.Of
			case nobodys(found.Lease.State):
				words = "nobody of ours, but " + words
			}
			f.add("lan", words)
		}
	case len(l.At) > 0:
		f.add("lan", "nobody answers on the LAN at "+strings.Join(l.At, ", "))
	case len(l.Failed) == 0:
		f.add("lan", "could not be asked from this host: it has no parent there")
	}
	for _, why := range l.Failed {
		f.add("lan", "could not be asked from this host: "+why)
	}
}

// nobodys reports whether an address in that state is nobody's that gvlan knows of.
func nobodys(s survey.State) bool {
	switch s {
	case survey.Free, survey.Outside, survey.Resting, survey.Quarantined, survey.Excluded:
		return true
	}
	return false
}
