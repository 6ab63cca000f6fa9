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
	"gvlan/cmd/internal/facts"
	"gvlan/cmd/internal/terminal"
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
			return errors.New(facts.Nothing(c.Flags().Arg(0)) + hint)
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
		told, asOf := facts.OfFound(found, now), time.Time{}
		switch found.Kind {
		case api.FoundAddress:
			asOf = found.Lease.AsOf
		case api.FoundHost:
			told = append(told, facts.Fact{Name: "more", Text: "gvlan node inspect " + found.Host.Host})
		case api.FoundNetwork:
			told = append(told, facts.Fact{Name: "more", Text: "gvlan network inspect " + found.Network.Name})
		}
		if err := printFacts(out, told, asOf, now); err != nil {
			return err
		}
	}
	return nil
}
