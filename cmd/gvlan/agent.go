package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gvlan/cluster/store"
)

// newAgentCommand is `gvlan agent`.
func newAgentCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this host",
		Long: "Serves Docker's plugin API on this host until it is told to stop: for good (SIGTERM, SIGINT), which it tells\n" +
			"the other nodes, or to give way to its successor (SIGUSR1), which they need not notice.\n" +
			"Every flag can also be given as GVLAN_... in the environment, or in " + defaultConfigFile + ".",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			began := time.Now()
			ctx, stop := withSuccessor(c.Context())
			defer stop()
			loaded, err := sources{flags: c.Flags(), environ: os.Environ()}.load()
			if err == nil {
				err = startAgent(ctx, loaded)
			}
			if managed := loaded.config.Swarm || c.Flag("swarm").Value.String() == "on"; managed && err != nil {
				return outlive(ctx, began, c.ErrOrStderr(), err)
			}
			return err
		},
	}
	addFlags(c.Flags())
	return c
}

// errSucceeded ends the context of an agent whose successor is about to
// start: an upgrade, a restart.
var errSucceeded = errors.New("another agent takes over")

// successorSignal is what the systemd unit stops an agent with that it starts
// again (RestartKillSignal).
const successorSignal = syscall.SIGUSR1

// withSuccessor ends a context with errSucceeded on that signal.
func withSuccessor(ctx context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	signalled, stop := signal.NotifyContext(ctx, successorSignal)
	context.AfterFunc(signalled, func() { end(errSucceeded) })
	return ctx, stop
}

// startAgent does what needs no part of gvlan: it settles the configuration
// and who this agent is, takes the data directory, and hands over to
// runAgent.
func startAgent(ctx context.Context, loaded settings) (retErr error) {
	if err := loaded.check(); err != nil {
		return err
	}
	c := loaded.config
	c.onHost()
	if err := c.readSecrets(); err != nil {
		return err
	}
	log, err := newLog(c, os.Stderr, underSystemd())
	if err != nil {
		return err
	}
	for _, warning := range loaded.warnings {
		log.Warn(warning)
	}
	dir, err := openDataDir(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, dir.Close()) }()
	self, err := whoAmI(c, dir)
	if err != nil {
		return err
	}
	log.Info("agent starts", "version", version, "node", self.Node, "install", self.Install, "config", loaded.file, "mode", string(c.mode()))
	log.Info("this agent " + c.mode().explain())
	err = runAgent(ctx, c, self, log)
	if held, ok := errors.AsType[*store.HeldError](err); ok && held.Clone {
		// The elder may be switched off one day: from now on this copy is
		// another install, which takes nothing of the elder's then.
		_, made := dir.newInstall(rand.Reader)
		err = errors.Join(err, made)
	}
	return err
}

// whoAmI gathers this agent's identity from its folder and its host.
func whoAmI(c Config, dir *dataDir) (identity, error) {
	install, err := dir.installID(rand.Reader)
	if err != nil {
		return identity{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return identity{}, fmt.Errorf("read the host name: %w", err)
	}
	return identify(c, install, host, os.DirFS("/"))
}
