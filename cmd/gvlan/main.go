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
	"os"
	"os/signal"
	"syscall"
)

// version is set by the Makefile from git.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(runCommand(ctx, os.Args[1:], os.Stdout, os.Stderr, version, serveHost))
}

// successorSignal is what the systemd unit stops an agent with that it starts
// again (RestartKillSignal).
const successorSignal = syscall.SIGUSR1

// serveHost is the agent of this host, from the settings to its end. It makes
// room for a successor when successorSignal says so.
func serveHost(ctx context.Context, loaded settings) error {
	ctx, end := context.WithCancelCause(ctx)
	signalled, stop := signal.NotifyContext(ctx, successorSignal)
	defer stop()
	context.AfterFunc(signalled, func() { end(errSucceeded) })
	return startAgent(ctx, loaded, version)
}
