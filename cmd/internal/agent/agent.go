package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/datadir"
)

// ErrSucceeded ends the context of an agent whose successor is about to
// start: an upgrade, a restart.
var ErrSucceeded = errors.New("another agent takes over")

// Run runs the agent that checked settings describe, until ctx ends:
// for good, which it tells the other nodes, or with errSucceeded, which they
// need not notice. It does what needs no part of gvlan: it settles who this
// agent is, takes the data directory, and hands over to runAgent.
func Run(ctx context.Context, loaded config.Settings, version string) (retErr error) {
	c := loaded.Config
	c.OnHost()
	if err := c.ReadSecrets(); err != nil {
		return err
	}
	log, err := newLog(c, os.Stderr, underSystemd())
	if err != nil {
		return err
	}
	for _, warning := range loaded.Warnings {
		log.Warn(warning)
	}
	dir, err := datadir.Open(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, dir.Close()) }()
	self, err := whoAmI(c, dir)
	if err != nil {
		return err
	}
	log.Info("agent starts", "version", version, "node", self.Node, "install", self.Install, "config", loaded.File, "mode", string(c.Mode()))
	log.Info("this agent " + c.Mode().Explain())
	err = runAgent(ctx, c, self, version, log)
	if held, ok := errors.AsType[*store.HeldError](err); ok && held.Clone {
		// The elder may be switched off one day: from now on this copy is
		// another install, which takes nothing of the elder's then.
		_, made := dir.NewInstall(rand.Reader)
		err = errors.Join(err, made)
	}
	return err
}

// whoAmI gathers this agent's identity from its folder and its host.
func whoAmI(c config.Config, dir *datadir.Dir) (identity, error) {
	install, err := dir.InstallID(rand.Reader)
	if err != nil {
		return identity{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return identity{}, fmt.Errorf("read the host name: %w", err)
	}
	return identify(c, install, host, os.DirFS("/"))
}
