package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/datadir"
	"gvlan/cmd/internal/systemd"
	"gvlan/cmd/internal/terminal"
)

// ErrSucceeded ends the context of an agent whose successor is about to
// start: an upgrade, a restart.
var ErrSucceeded = errors.New("another agent takes over")

// Run runs the agent that checked settings describe, until ctx ends:
// for good, which it tells the other nodes, or with errSucceeded, which they
// need not notice. It does what needs no part of gvlan: it settles who this
// agent is, takes the data directory, and hands over to runParts.
func Run(ctx context.Context, loaded config.Settings, version string) (retErr error) {
	c := loaded.Config
	c.OnHost()
	if err := c.ReadSecrets(); err != nil {
		return err
	}
	log, err := newLog(c, os.Stderr, systemd.Journals())
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
	err = runParts(ctx, c, self, version, log)
	if held, ok := errors.AsType[*store.HeldError](err); ok && held.Clone {
		// The elder may be switched off one day: from now on this copy is
		// another install, which takes nothing of the elder's then.
		_, made := dir.NewInstall(rand.Reader)
		err = errors.Join(err, made)
	}
	return err
}

// runParts builds the agent out of its parts, runs them until ctx ends, and
// gives back what they had.
func runParts(ctx context.Context, c config.Config, self identity, version string, log *slog.Logger) error {
	a := &agent{config: c, self: self, version: version, log: log, started: time.Now()}
	err := a.build(ctx)
	if err == nil {
		err = a.run(ctx)
	}
	return errors.Join(err, a.close())
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

// identity is who this agent is, apart from where it is reached.
type identity struct {
	Node    string // name in the cluster
	Install string // uuid of the data directory
	Boot    string // uuid of this boot of the host
	Host    string // host name, for people
}

var machineIDForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// identify reads the rest of an identity from the host; root is the root of
// its file system.
func identify(c config.Config, install, host string, root fs.FS) (identity, error) {
	boot, err := fs.ReadFile(root, "proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, fmt.Errorf("read the boot id: %w", err)
	}
	node := c.NodeName
	if node == "" {
		if node, err = machineID(root); err != nil {
			return identity{}, err
		}
	}
	if c.Swarm && !strings.HasSuffix(node, config.SwarmSuffix) {
		node += config.SwarmSuffix
	}
	return identity{Node: node, Install: install, Boot: strings.TrimSpace(string(boot)), Host: host}, nil
}

// machineID reads machine-id(5).
func machineID(root fs.FS) (string, error) {
	text, err := fs.ReadFile(root, "etc/machine-id")
	if err != nil {
		return "", fmt.Errorf("read the machine id (or give --node-name): %w", err)
	}
	id := strings.TrimSpace(string(text))
	if !machineIDForm.MatchString(id) {
		return "", fmt.Errorf("/etc/machine-id says %q, which is no machine id: run systemd-machine-id-setup, or give --node-name", id)
	}
	return id, nil
}

// newLog makes the agent's logger. Under systemd the journal stamps every
// line itself, so text lines then carry no time of their own.
func newLog(c config.Config, out io.Writer, underSystemd bool) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("set --log-level: %w", err)
	}
	out = terminal.NewWriter(out)
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options)), nil
	}
	if underSystemd {
		options.ReplaceAttr = withoutTime
	}
	return slog.New(slog.NewTextHandler(out, options)), nil
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
