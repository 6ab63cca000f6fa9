package frame

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/pool"
)

// Group makes a command that only has others below it.
func Group(use, short string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(below...)
	return c
}

// Run runs the command of a tree that args name, and returns the exit status. It
// gives every command the manners that are the same for all: what others chose
// is escaped, and a mistyped name or flag is refused with the nearest one there
// is.
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	stdout, stderr = terminal.NewWriter(stdout), terminal.NewWriter(stderr)
	began := false
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(explainFlag)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultHelpCmd() // cobra's own are commands as others are, and print where they are told before
	root.InitDefaultCompletionCmd(args...)
	finish(root, func() { began = true })
	err := root.ExecuteContext(ctx)
	if err != nil && !isTold(err) {
		fmt.Fprintln(stderr, "gvlan:", err)
	}
	return statusOf(err, began)
}

// finish has began called when a command starts to do what it is for.
func finish(c *cobra.Command, began func()) {
	if c.Name() == "help" && c.HasParent() && !c.Parent().HasParent() {
		c.Run, c.RunE = nil, help
	}
	if run := c.RunE; run != nil {
		completesNoFiles(c)
		c.Args = explainArguments(c.Args)
		c.RunE = func(c *cobra.Command, args []string) error {
			began()
			return run(c, args)
		}
	} else if c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs // an unknown command is told below, as everywhere
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		}
	}
	for _, below := range c.Commands() {
		finish(below, began)
	}
}

// help shows that of the command that args name.
func help(c *cobra.Command, args []string) error {
	of := c.Root()
	for _, name := range args {
		i := slices.IndexFunc(of.Commands(), func(below *cobra.Command) bool { return below.Name() == name })
		if i < 0 {
			return unknownCommand(of, name)
		}
		of = of.Commands()[i]
	}
	of.InitDefaultHelpFlag()
	of.InitDefaultVersionFlag()
	return of.Help()
}

// explainArguments says how a command is typed, where it has too few arguments
// or too many.
func explainArguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if check == nil || check(c, args) == nil {
			return nil
		}
		got := "nothing"
		if len(args) > 0 {
			got = strings.Join(args, " ")
		}
		_, wants, _ := strings.Cut(c.Use, " ")
		if wants == "" {
			return Misusef("%s takes no argument, and got %s", c.CommandPath(), got)
		}
		return Misusef("%s wants %s, and got %s; see %s --help", c.CommandPath(), wants, got, c.CommandPath())
	}
}

// unknownCommand names the nearest command there is.
func unknownCommand(c *cobra.Command, name string) error {
	var known []string
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() {
			known = append(known, below.Name())
		}
	}
	near := pool.Nearest(name, known)
	if i := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(k, name) }); i >= 0 {
		near = known[i] // begun, and not ended
	}
	if near != "" {
		return Misusef("%s has no command %q; did you mean %s %s?", c.CommandPath(), name, c.CommandPath(), near)
	}
	return Misusef("%s has no command %q; see %s --help", c.CommandPath(), name, c.CommandPath())
}

// explainFlag adds the nearest known flag to pflag's complaint about an
// unknown one.
func explainFlag(c *cobra.Command, err error) error {
	if c.HasSubCommands() && c.Flags().NArg() > 0 {
		return unknownCommand(c, c.Flags().Arg(0)) // whose flag it would be
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return Misuse(fmt.Errorf("%w; see %s --help", err, c.CommandPath()))
	}
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := pool.Nearest(unknown.GetSpecifiedName(), known); near != "" {
		return Misuse(fmt.Errorf("%w; did you mean --%s?", err, near))
	}
	return Misuse(fmt.Errorf("%w; see %s --help", err, c.CommandPath()))
}
