// Command gvlan is the agent that serves Docker's plugin API on a host, and
// the commands an operator asks it with.
//
//	gvlan agent            run the agent (normally systemd does)
//	gvlan status           what this host's agent knows and waits for
//	gvlan config check     validate the configuration and say where each value comes from
//	gvlan config reference print every setting as a Markdown table
//
// Settings come from flags, GVLAN_* environment variables and a TOML file,
// in that order: see cmd/internal/config. The commands are in cmd/internal/cli;
// they ask the agent, cmd/internal/agent, by what cmd/internal/api says.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"gvlan/cmd/internal/agent"
	"gvlan/cmd/internal/cli"
	"gvlan/cmd/internal/config"
)

// version is set by the Makefile from git.
var version = "unknown"

func main() { os.Exit(run()) }

// run is gvlan until it ends or is told to; it returns the exit status.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, stop = untilSucceeded(ctx)
	defer stop()
	return cli.Run(ctx, os.Args[1:], os.Stdout, os.Stderr, version, serveHost)
}

// successorSignal is what the systemd unit stops an agent with that it starts
// again (RestartKillSignal).
const successorSignal = syscall.SIGUSR1

// untilSucceeded ends a context with agent.ErrSucceeded on successorSignal.
func untilSucceeded(ctx context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	signalled, stop := signal.NotifyContext(ctx, successorSignal)
	context.AfterFunc(signalled, func() { end(agent.ErrSucceeded) })
	return ctx, stop
}

// serveHost runs the agent of this host until ctx ends.
func serveHost(ctx context.Context, loaded config.Settings) error {
	return agent.Run(ctx, loaded, version)
}
