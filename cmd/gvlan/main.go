// Command gvlan is the agent that serves Docker's plugin API on a host, and
// the commands an operator asks it with.
//
//	gvlan agent            run the agent (normally systemd does)
//	gvlan status           what this host's agent knows and waits for
//	gvlan config check     validate the configuration and say where each value comes from
//	gvlan config reference print every setting as a Markdown table
//
// Settings come from flags, GVLAN_* environment variables and a TOML file,
// in that order; options.go has the one table of them. wire.go builds the
// agent out of its parts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is gvlan with these arguments; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stdout, stderr = visible{stdout}, visible{stderr}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[told](err); !ok {
		fmt.Fprintln(stderr, "gvlan:", err)
	}
	return 1
}
