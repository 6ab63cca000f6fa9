package health

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/terminal"
)

// NewAudit is `gvlan audit`.
func NewAudit() *cobra.Command {
	var repair, probe bool
	c := &cobra.Command{
		Use:   "audit",
		Short: "Look for records and links that nobody needs, and take them away",
		Long: "Looks at all that the store has and at the links of this host for what should not be: addresses without a\n" +
			"container, containers without their address, what strange or evicted nodes left, reservations, rests and\n" +
			"links of nobody. It locks nothing, and what is under way is no finding: each is seen twice, some seconds apart.\n" +
			"What another connected host holds only its own agent can judge: audit on each host.\n" +
			"With --repair it takes away what can be, where nothing of it changed since; an address that somebody may\n" +
			"use is not freed but rests until the LAN is silent about it. With --probe the LANs of this host are asked too:\n" +
			"who answers for an address that nobody has, or in place of the container that has it.\n" +
			"The exit status is 3 when something was found.",
		Example: "  gvlan audit\n  gvlan audit --repair\n  gvlan audit --probe\n  gvlan audit --json",
		Args:    cobra.NoArgs,
	}
	frame.Showing(c, func(c *cobra.Command, client *api.Client, _ []string) (report api.Audit, err error) {
		method, query := http.MethodGet, url.Values{}
		if repair {
			method = http.MethodPost
		}
		if probe {
			query.Set("probe", "")
		}
		what := "a second look at what may be wrong"
		if probe {
			what = "answers of the LAN"
		}
		waiting := frame.Waiting(c, what)
		defer waiting.End()
		err = client.Ask(c.Context(), method, api.AuditRoute+"?"+query.Encode(), &report)
		return report, err
	}, func(c *cobra.Command, _ *api.Client, report api.Audit) error {
		return printAudit(c.OutOrStdout(), report, repair)
	})
	c.Flags().BoolVar(&repair, "repair", false, "take away what can be, where nothing of it changed since")
	c.Flags().BoolVar(&probe, "probe", false, "ask the LANs of this host as well")
	return c
}

// printAudit prints what is wrong, each with the reason and what takes it away.
func printAudit(out io.Writer, r api.Audit, repaired bool) error {
	terminal.InCells(&r)
	text := &strings.Builder{}
	fmt.Fprintln(text, verdictOfAudit(r, repaired))
	for _, f := range r.Findings {
		fmt.Fprintf(text, "\n%s: %s\n", strings.ToUpper(f.Kind), f.What)
		fmt.Fprintf(text, "   why    %s\n", f.Why)
		if f.Host != "" {
			fmt.Fprintf(text, "   host   %s\n", f.Host)
		}
		fmt.Fprintf(text, "   %s\n", curing(f))
	}
	for _, why := range r.Unasked {
		fmt.Fprintf(text, "\nnot looked at: %s\n", why)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// curing is what was done about a finding, or can be.
func curing(f api.AuditFinding) string {
	switch {
	case f.Outcome == api.OutcomeRepaired:
		return "done   repaired: " + f.Cure
	case f.Outcome == api.OutcomeChanged:
		return "done   nothing: it is not any more as it was audited"
	case f.Outcome != "":
		return "done   nothing: " + f.Failed
	case f.Repairable:
		return "cure   gvlan audit --repair: " + f.Cure
	}
	return "cure   " + f.Cure
}

// verdictOfAudit is the first line.
func verdictOfAudit(r api.Audit, repair bool) string {
	at := fmt.Sprintf("at revision %d of the store", r.Revision)
	var can, done int
	for _, f := range r.Findings {
		if f.Outcome == api.OutcomeRepaired {
			done++
		} else if f.Repairable {
			can++
		}
	}
	switch found := len(r.Findings); {
	case found == 0:
		return "nothing is wrong " + at
	case repair:
		return fmt.Sprintf("%d found %s, %d repaired", found, at, done)
	case can > 0:
		return fmt.Sprintf("%d found %s; gvlan audit --repair takes %d of them away", found, at, can)
	default:
		return fmt.Sprintf("%d found %s", found, at)
	}
}
