package frame

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
)

// Column is one column of a list.
type Column[T any] struct {
	Head string
	Cell func(T) string // "" is shown as a dash
	Wide bool           // shown with --wide only
}

// List is how a list of things is shown.
type List[T any] struct {
	Name    func(T) string                       // what --quiet prints of each
	Columns func(now time.Time) []Column[T]      // those that are not Wide fit 80 columns together
	Before  func(out io.Writer, items []T) error // what a table is preceded by; nil: nothing
	After   func(out io.Writer, items []T) error // what a table is followed by; nil: nothing
	Empty   string                               // said on stderr in place of an empty table; "": the heads alone
}

// Listing has a command print the list that ask gets from this host's agent: a
// table, or as --json, --quiet and --format say.
func Listing[T any](c *cobra.Command, ask func(*cobra.Command, *api.Client, []string) ([]T, error), list List[T]) *cobra.Command {
	return ListingOf(c, ask, itself, list)
}

// ListingOf is Listing of what an answer has items in: --json prints all of it.
func ListingOf[A, T any](c *cobra.Command, ask func(*cobra.Command, *api.Client, []string) (A, error), items func(A) []T, list List[T]) *cobra.Command {
	var how listFlags
	how.register(c, list.wide())
	c.RunE = WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
		return printed(c, &how, func() (A, error) {
			return Answered(c, func() (A, error) { return ask(c, client, args) })
		}, items, list)
	})
	config.AddAgentFlags(c.Flags())
	return c
}

// ListingHere is Listing of what a command knows without the agent.
func ListingHere[T any](c *cobra.Command, ask func(*cobra.Command, []string) ([]T, error), list List[T]) *cobra.Command {
	var how listFlags
	how.register(c, list.wide())
	c.RunE = func(c *cobra.Command, args []string) error {
		return printed(c, &how, func() ([]T, error) { return ask(c, args) }, itself, list)
	}
	return c
}

func itself[T any](items []T) []T { return items }

// printed prints an answer as the flags say.
func printed[A, T any](c *cobra.Command, how *listFlags, ask func() (A, error), items func(A) []T, list List[T]) error {
	format, err := how.formatter(reflect.TypeFor[T]())
	if err != nil {
		return err
	}
	answer, err := ask()
	if err != nil {
		return err
	}
	out, all := c.OutOrStdout(), items(answer)
	switch {
	case how.json:
		return PrintJSON(out, answer)
	case how.quiet:
		return list.printNames(out, all)
	case format != nil:
		return printFormat(out, format, all)
	}
	if len(all) == 0 && list.Empty != "" {
		_, err := fmt.Fprintln(c.ErrOrStderr(), list.Empty)
		return err
	}
	return list.Print(out, all, time.Now(), how.wide)
}

// Following is Listing of what goes on: with --follow each thing is printed as
// follow tells it, until the command is interrupted. A table has no heads then,
// and is as wide as line makes it.
func Following[T any](
	c *cobra.Command,
	ask func(*cobra.Command, *api.Client, []string) ([]T, error),
	follow func(*cobra.Command, *api.Client, []string, func(T) error) error,
	list List[T], line func(T) string,
) *cobra.Command {
	var how listFlags
	var following bool
	how.register(c, list.wide())
	c.Flags().BoolVarP(&following, "follow", "f", false, "go on, and print each as it comes")
	c.RunE = WithAgent(func(c *cobra.Command, client *api.Client, args []string) error {
		if !following {
			return printed(c, &how, func() ([]T, error) {
				return Answered(c, func() ([]T, error) { return ask(c, client, args) })
			}, itself, list)
		}
		format, err := how.formatter(reflect.TypeFor[T]())
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		return follow(c, client, args, func(item T) error {
			switch {
			case how.json:
				return json.NewEncoder(out).Encode(item)
			case how.quiet:
				return list.printNames(out, []T{item})
			case format != nil:
				format.heads = nil
				return printFormat(out, format, []T{item})
			}
			terminal.InCells(&item)
			_, err := fmt.Fprintln(out, line(item))
			return err
		})
	})
	config.AddAgentFlags(c.Flags())
	return c
}

// Print prints the table.
func (l List[T]) Print(out io.Writer, items []T, now time.Time, wide bool) error {
	terminal.InCells(&items)
	var table terminal.Table
	var cells []func(T) string
	for _, column := range l.Columns(now) {
		if !column.Wide || wide {
			table.Heads = append(table.Heads, column.Head)
			cells = append(cells, column.Cell)
		}
	}
	for _, item := range items {
		row := make([]string, len(cells))
		for i, cell := range cells {
			row[i] = cell(item)
		}
		table.Rows = append(table.Rows, row)
	}
	if l.Before != nil {
		if err := l.Before(out, items); err != nil {
			return err
		}
	}
	if err := table.Print(out); err != nil || l.After == nil {
		return err
	}
	return l.After(out, items)
}

func (l List[T]) printNames(out io.Writer, items []T) error {
	for _, item := range items {
		if _, err := fmt.Fprintln(out, l.Name(item)); err != nil {
			return err
		}
	}
	return nil
}

func (l List[T]) wide() bool {
	for _, column := range l.Columns(time.Time{}) {
		if column.Wide {
			return true
		}
	}
	return false
}

// listFlags say how a list is printed.
type listFlags struct {
	json, quiet, wide bool
	format            string
}

func (f *listFlags) register(c *cobra.Command, wide bool) {
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print names only, one a line")
	c.Flags().StringVar(&f.format, "format", "", "print each by a Go `TEMPLATE`, as '{{.Name}}'; json, or 'table {{.Name}}\\t{{.State}}'; a field that is none is refused, with those there are")
	if wide {
		c.Flags().BoolVar(&f.wide, "wide", false, "print more columns, as ids")
	}
}

func (f *listFlags) formatter(item reflect.Type) (*format, error) {
	given := 0
	for _, one := range []bool{f.json, f.quiet, f.format != ""} {
		if one {
			given++
		}
	}
	if given > 1 {
		return nil, Misuse(errors.New("--json, --quiet and --format exclude one another: give one"))
	}
	if f.format == "" {
		return nil, nil
	}
	return parseFormat(f.format, item)
}
