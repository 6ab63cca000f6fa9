package frame

import (
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
)

// WithAgent runs a command that asks this host's agent, by the flags that
// config.AddAgentFlags gave it.
func WithAgent(run func(*cobra.Command, *api.Client, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		client, err := clientOf(c)
		if err != nil {
			return err
		}
		return run(c, client, args)
	}
}

// Showing has a command print what ask gets from this host's agent: by show, for
// people, or with --json as it is. An answer that is Unhealthy ends it with
// ErrUnhealthy.
func Showing[T any](c *cobra.Command, ask func(*cobra.Command, *api.Client, []string) (T, error), show func(*cobra.Command, *api.Client, T) error) *cobra.Command {
	var asJSON bool
	c.RunE = WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
		answer, err := Answered(c, func() (T, error) { return ask(c, client, args) })
		if err != nil {
			return err
		}
		if asJSON {
			err = PrintJSON(c.OutOrStdout(), answer)
		} else {
			err = show(c, client, answer)
		}
		if ails, ok := any(answer).(Verdict); err == nil && ok && ails.Unhealthy() {
			return ErrUnhealthy
		}
		return err
	})
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	config.AddAgentFlags(c.Flags())
	return c
}

// Verdict is an answer that can say that something is wrong.
type Verdict interface{ Unhealthy() bool }

// At is the answer of one route, for Showing and Listing.
func At[T any](route string) func(*cobra.Command, *api.Client, []string) (T, error) {
	return func(c *cobra.Command, client *api.Client, _ []string) (answer T, err error) {
		err = client.Get(c.Context(), route, &answer)
		return answer, err
	}
}

// Aged prints an answer that says how old things are, for Showing.
func Aged[T any](print func(io.Writer, T, time.Time) error) func(*cobra.Command, *api.Client, T) error {
	return func(c *cobra.Command, _ *api.Client, answer T) error {
		return print(c.OutOrStdout(), answer, time.Now())
	}
}

// clientOf finds the socket by the settings of the command.
func clientOf(c *cobra.Command) (*api.Client, error) {
	loaded, err := config.Load(c.Flags(), os.Environ())
	if err != nil {
		return nil, Misuse(err)
	}
	return api.NewClient(loaded.Config.StatusSocket), nil
}

// PrintJSON is what --json prints. A list is one also where an older agent sent
// none.
func PrintJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(api.WithLists(value))
}
