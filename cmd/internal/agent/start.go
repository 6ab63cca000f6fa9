package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"gvlan/cluster"
	"gvlan/cluster/store"
	"gvlan/cluster/store/hosting"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/datadir"
	"gvlan/cmd/internal/systemd"
	"gvlan/cmd/internal/terminal"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
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
	log.Info("agent starts", "version", version, "node", self.Node, "install", self.Install, "config", loaded.File)
	err = runUntilEnd(ctx, c, self, version, log)
	if held, ok := errors.AsType[*store.HeldError](err); ok && held.Clone {
		// This folder is a copy of the elder's. With an id of its own it takes
		// nothing of the elder's, also once that one is switched off.
		_, made := dir.NewInstall(rand.Reader)
		err = errors.Join(err, made)
	}
	return err
}

// runUntilEnd runs this host's agent, built anew whenever the host comes to
// another store: what an agent is made of rests on the store it uses.
func runUntilEnd(ctx context.Context, c config.Config, self Identity, version string, log *slog.Logger) error {
	for {
		a, err := New(ctx, c, self, Outside{}, version, log)
		if err == nil {
			log.Info("this agent " + a.truth.standing())
			err = a.Run(ctx)
		}
		if !errors.Is(err, hosting.ErrMoved) || ctx.Err() != nil {
			return err
		}
		log.Info("this host uses another store from now on: its agent begins anew with it", "ended", err)
	}
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

// advertised is the address other hosts reach this one by: the one that was
// given, the first of the interface that was given, the one the store is served
// on to others, or the source address the kernel picks towards the etcd in use.
func advertised(ctx context.Context, c config.Config) (netip.Addr, error) {
	if c.Advertise != "" || c.External() {
		return cluster.Advertise(ctx, c.Advertise, hostsOf(c.Etcd.Endpoints))
	}
	if at, err := netip.ParseAddrPort(c.Etcd.Listen); err == nil && !at.Addr().IsUnspecified() && !at.Addr().IsLoopback() {
		return at.Addr(), nil
	}
	served, members, err := hosting.Remembered(c.DataDir)
	if err != nil {
		return netip.Addr{}, err
	}
	if at, err := netip.ParseAddrPort(served); err == nil && !at.Addr().IsLoopback() && mtuAt(at.Addr()) > 0 {
		return at.Addr(), nil
	}
	if c.Join.Address != "" {
		members = append(members, hosting.WithPort(c.Join.Address))
	}
	return cluster.Advertise(ctx, "", members)
}

// hostsOf are the host:port of URLs.
func hostsOf(endpoints []string) (hosts []string) {
	for _, endpoint := range endpoints {
		if u, err := url.Parse(endpoint); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}

// mtuAt is the MTU of the interface that has an address, in bytes; 0 when
// none has it.
func mtuAt(addr netip.Addr) int {
	links, err := net.Interfaces()
	if err != nil {
		return 0
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr() == addr
		}) {
			return link.MTU
		}
	}
	return 0
}

// defaultPools are the configured blocks as runs of subnets.
func defaultPools(c config.Pools) []node.DefaultPools {
	var pools []node.DefaultPools
	for _, b := range slices.Concat(c.Default4, c.Default6) {
		pools = append(pools, node.DefaultPools{
			First: netip.PrefixFrom(b.Base.Addr(), b.Bits),
			Last:  netip.PrefixFrom(pool.LastOf(b.Base), b.Bits).Masked(),
		})
	}
	return pools
}
