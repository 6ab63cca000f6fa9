package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/frame"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/doctor"
	"gvlan/cmd/internal/terminal"
)

// NewDoctor is `gvlan doctor`.
func NewDoctor(version string) *cobra.Command {
	var asJSON, quiet bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Examine this host for what keeps gvlan from working",
		Long: "Looks at the kernel, the interfaces, Docker, the firewall, the disk, the store, clocks and peers, and asks for\n" +
			"names inside a container. Each finding says what is wrong, why it matters, and what to type. It changes\n" +
			"nothing, and works with the agent down: what only the agent knows is then left out, and said so.\n" +
			"The exit status is 3 when a fault was found; hints leave it 0.",
		Example: "  gvlan doctor\n  gvlan doctor -q\n  gvlan doctor --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if asJSON && quiet {
				return frame.Misuse(errors.New("--json and --quiet exclude one another: give one"))
			}
			report, err := examine(c, version)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				err = frame.PrintJSON(c.OutOrStdout(), report)
			case quiet:
				err = printWrong(c.OutOrStdout(), report)
			default:
				err = printReport(c.OutOrStdout(), report)
			}
			if err == nil && !report.Healthy {
				return frame.ErrUnhealthy
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only what is wrong, one a line")
	addHostFlags(c.Flags())
	return c
}

// addHostFlags adds what says where an agent that does not answer would be.
func addHostFlags(flags *pflag.FlagSet) {
	config.AddAgentFlags(flags, "docker", "data-dir", "plugin-socket-dir", "driver-name")
}

// examine looks at this host.
func examine(c *cobra.Command, version string) (doctor.Report, error) {
	own, err := ownSettings(c)
	if err != nil {
		return doctor.Report{}, err
	}
	host, closeHost, err := thisHost(c, own, version)
	if err != nil {
		return doctor.Report{}, err
	}
	waiting := frame.Waiting(c, "answers of the engine, the agent and the disk")
	report := doctor.Examine(c.Context(), host)
	waiting.End()
	return report, closeHost()
}

// ownSettings are those of the command, which are the file's and the environment's,
// that of the agent's service included: an agent that is down, maybe for want of a
// better setting, tells nobody.
func ownSettings(c *cobra.Command) (config.Config, error) {
	if os.Geteuid() != 0 {
		return config.Config{}, errors.New("only root may look at all this: run this command as root")
	}
	environ := os.Environ()
	if !c.Flags().Changed("swarm") { // a managed plugin is no service
		var err error
		if environ, err = config.ServiceEnviron(config.ServiceFile, environ); err != nil {
			return config.Config{}, err
		}
	}
	loaded, err := config.Load(c.Flags(), environ)
	if err != nil {
		return config.Config{}, frame.Misuse(err)
	}
	return loaded.Config, nil
}

// thisHost is the host of the command, with the settings of its agent where that
// answers, else with the command's own.
func thisHost(c *cobra.Command, own config.Config, version string) (doctor.Host, func() error, error) {
	waiting := frame.Waiting(c, "the agent's settings")
	settings, err := inEffect(c.Context(), own, settingsWait)
	waiting.End()
	if err != nil {
		return doctor.Host{}, nil, err
	}
	host, closeHost, err := doctor.Real(settings, version)
	if err != nil {
		return doctor.Host{}, nil, fmt.Errorf("look at this host: %w", err)
	}
	return host, closeHost, nil
}

// settingsWait bounds how long the agent is waited for: one that hangs is what an
// examination is for.
const settingsWait = 5 * time.Second

// inEffect are the settings of the agent, but for the socket it is asked by.
func inEffect(ctx context.Context, own config.Config, patience time.Duration) (config.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var shown []config.Shown
	if err := api.NewClient(own.StatusSocket).Get(ctx, api.SettingsRoute, &shown); err != nil {
		return own, nil //nolint:nilerr // it is down, hangs, or is older: that is for the examination to find
	}
	settings, err := config.FromShown(shown)
	settings.StatusSocket = own.StatusSocket
	settings.SecretsIn = own.SecretsIn // of which the agent does not tell
	return settings, err
}

// printWrong prints findings for scripts and for those who know.
func printWrong(out io.Writer, r doctor.Report) error {
	terminal.InCells(&r)
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(out, "%s: %s: %s\n", f.Severity, f.Check, f.What); err != nil {
			return err
		}
	}
	return nil
}

// printReport prints findings first, and then what was looked at.
func printReport(out io.Writer, r doctor.Report) error {
	terminal.InCells(&r)
	text := &strings.Builder{}
	fmt.Fprintln(text, verdictOf(r))
	for _, f := range r.Findings {
		fmt.Fprintf(text, "\n%s (%s): %s\n", strings.ToUpper(string(f.Severity)), f.Check, f.What)
		fmt.Fprintf(text, "   why    %s\n", f.Why)
		fmt.Fprintf(text, "   cure   %s\n", f.Cure)
	}
	fmt.Fprintln(text)
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	table := terminal.Table{Heads: []string{"CHECKED", "SAW"}}
	for _, c := range r.Checks {
		saw := c.Saw
		if c.NotChecked != "" {
			saw = strings.TrimPrefix(saw+"; ", "; ") + "not checked: " + c.NotChecked
		}
		table.Rows = append(table.Rows, []string{c.Check, terminal.OrDash(saw)})
	}
	return table.Print(out)
}

// verdictOf is the first line.
func verdictOf(r doctor.Report) string {
	faults, hints := 0, 0
	for _, f := range r.Findings {
		if f.Severity == doctor.Fault {
			faults++
		} else {
			hints++
		}
	}
	var found []string
	for _, n := range []struct {
		count int
		what  string
	}{{faults, "fault"}, {hints, "hint"}} {
		switch n.count {
		case 0:
		case 1:
			found = append(found, "1 "+n.what)
		default:
			found = append(found, fmt.Sprintf("%d %ss", n.count, n.what))
		}
	}
	if len(found) == 0 {
		return fmt.Sprintf("host %s: nothing is wrong", r.Host)
	}
	return fmt.Sprintf("host %s: %s", r.Host, strings.Join(found, ", "))
}
