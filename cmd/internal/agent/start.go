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

	"gvlan/cluster/store"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/datadir"
	"gvlan/cmd/internal/systemd"
	"gvlan/cmd/internal/terminal"
)

// ErrSucceeded ends the context of an agent whose successor is about to
// start: an upgrade, a restart.
var ErrSucceeded = errors.New("another agent takes over")

// Run runs the agent of this host until ctx ends, with settings that were
// checked. An agent that ends for good tells the other nodes so; one that ends
// with ErrSucceeded does not, because its successor is back before they notice.
// Run itself does what needs no other part of gvlan: it settles who this agent is
// and takes the data directory.
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
	a, err := New(ctx, c, self, Outside{}, version, log)
	if err == nil {
		err = a.Run(ctx)
	}
	if held, ok := errors.AsType[*store.HeldError](err); ok && held.Clone {
		// This folder is a copy of the elder's. With an id of its own it takes
		// nothing of the elder's, also once that one is switched off.
		_, made := dir.NewInstall(rand.Reader)
		err = errors.Join(err, made)
	}
	return err
}

// whoAmI gathers this agent's identity from its folder and its host.
func whoAmI(c config.Config, dir *datadir.Dir) (Identity, error) {
	install, err := dir.InstallID(rand.Reader)
	if err != nil {
		return Identity{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return Identity{}, fmt.Errorf("read the host name: %w", err)
	}
	return identify(c, install, host, os.DirFS("/"))
}

// Identity is who this agent is, apart from where it is reached.
type Identity struct {
	Node    string // name in the cluster
	Install string // uuid of the data directory
	Boot    string // uuid of this boot of the host
	Host    string // host name, for people
}

var machineIDForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// identify reads the rest of an identity from the host; root is the root of
// its file system.
func identify(c config.Config, install, host string, root fs.FS) (Identity, error) {
	boot, err := fs.ReadFile(root, "proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, fmt.Errorf("read the boot id: %w", err)
	}
	node := c.NodeName
	if node == "" {
		if node, err = machineID(root); err != nil {
			return Identity{}, err
		}
	}
	if c.Swarm && !strings.HasSuffix(node, config.SwarmSuffix) {
		node += config.SwarmSuffix
	}
	return Identity{Node: node, Install: install, Boot: strings.TrimSpace(string(boot)), Host: host}, nil
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
