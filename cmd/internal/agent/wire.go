package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/driver"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/plugin"
	"gvlan/ipam"
	"gvlan/parentfile"
)

// parts are everything an agent is made of, from the store up.
type parts struct {
	config  config.Config
	self    identity
	version string
	log     *slog.Logger
	started time.Time

	journal   *journal.Journal
	truth     *truth
	session   *session.Session
	address   netip.Addr // other hosts reach this one by
	gossip    membership
	names     names
	links     *link.Kernel
	engine    *engine.Engine
	addresses *ipam.Allocator
	driver    *driver.Driver
	plugin    *plugin.Plugin
	socket    net.Listener
	status    *api.Server
}

// runAgent builds the agent out of its parts and runs it until ctx ends.
func runAgent(ctx context.Context, c config.Config, self identity, version string, log *slog.Logger) (retErr error) {
	p := &parts{config: c, self: self, version: version, log: log, started: time.Now()}
	defer func() { retErr = errors.Join(retErr, p.close()) }()
	for _, build := range []func() error{p.openJournal, p.openTruth, func() error { return p.refuseForeignToken(ctx) }, p.openHost, p.buildDriver, p.openSockets} {
		if err := build(); err != nil {
			return err
		}
	}
	return p.run(ctx)
}

// openTruth prepares the store and this node's session with it. Nothing is
// connected yet.
func (p *parts) openTruth() (err error) {
	if p.truth, err = newTruth(p.config, p.self, p.log); err != nil {
		return err
	}
	addr, err := advertised(p.config)
	if err != nil {
		return err
	}
	p.address = addr
	if err := p.past().claimJournal(p.self.Node, p.config.DataDir); err != nil {
		return err
	}
	returned, err := p.past().returned()
	if err != nil {
		return err
	}
	p.session = session.New(p.truth.etcd, session.Identity{
		Node: p.self.Node, Install: p.self.Install, Boot: p.self.Boot, Host: p.self.Host,
		Address: addr.String(), Version: p.version, Gossip: p.gossipAddress(addr), Returned: returned,
	}, p.past(), p.log)
	if err := p.openGossip(addr); err != nil {
		return err
	}
	return p.openNames()
}

// openHost opens this host's kernel and engine.
func (p *parts) openHost() (err error) {
	if p.links, err = link.Open(link.Current, p.config.DriverName); err != nil {
		return err
	}
	p.engine, err = engine.New(engine.Config{Socket: socketPath(p.config.Docker)})
	return err
}

// buildDriver makes the allocator and the driver, which know each other: the
// allocator asks the driver whether an endpoint is dead.
func (p *parts) buildDriver() (err error) {
	endpoints := &lateEndpoints{}
	p.addresses, err = ipam.New(ipam.Config{
		KV: p.session, Self: p.session, Journal: p.journal.Bucket(addressBucket), Endpoints: endpoints, Ask: endpoints.Ask,
		Routes: routes, DefaultPools: defaultPools(p.config.Pools), Log: p.log,
	})
	if err != nil {
		return err
	}
	made := driver.Config{
		Name: p.config.DriverName, KV: p.session, Self: p.session, Addresses: p.addresses,
		Links: p.links, Engine: p.engine,
		Networks: p.journal.Bucket(networkBucket), Endpoints: p.journal.Bucket(endpointBucket), Settings: p.journal.Bucket("labels"),
		Hosts:  parentfile.HostTable{Default: p.config.Parents.Default, Networks: p.config.Parents.Networks},
		OnHost: func(path string) string { return config.HostPath(p.config.Root(), path) },
		Node: store.Node{
			Node: p.self.Node, Host: p.self.Host, Address: p.address.String(),
			Gossip: p.gossipAddress(p.address), Version: p.version,
		},
		Swarm: p.config.Swarm, Solo: p.solo, Drained: p.drained, Now: time.Now, Log: p.log,
	}
	if p.names.sandboxes != nil {
		made.Sandboxes = p.names.sandboxes
	}
	p.driver, err = driver.New(made)
	endpoints.driver = p.driver
	return err
}

// lateEndpoints lets the allocator reach the driver that is built after it.
type lateEndpoints struct{ driver *driver.Driver }

// Silence implements ipam.Endpoints.
func (d *lateEndpoints) Silence(endpoint string, addr netip.Addr) error {
	return d.driver.Silence(endpoint, addr)
}

// Restored implements ipam.Endpoints.
func (d *lateEndpoints) Restored(endpoint string) { d.driver.Republish(endpoint) }

// Ask asks on the LAN of a network.
func (d *lateEndpoints) Ask(ctx context.Context, network string, addrs []netip.Addr) ([]netip.Addr, error) {
	return d.driver.Ask(ctx, network, addrs)
}

// CloseDead implements ipam.Endpoints.
func (d *lateEndpoints) CloseDead(ctx context.Context, endpoint string) (bool, error) {
	return d.driver.CloseDead(ctx, endpoint)
}

// openSockets takes the plugin's and the status socket. From here on Docker's
// connections wait in the plugin's backlog until run serves them.
func (p *parts) openSockets() (err error) {
	p.plugin = plugin.New(p.driver, p.addresses, p.config.Swarm, p.log)
	if p.socket, err = plugin.Listen(p.config.PluginSocketDir, pluginSocketName(p.config)); err != nil {
		return err
	}
	if p.status, err = api.NewServer(p.config.StatusSocket, p.log); err != nil {
		return err
	}
	p.serveStatusRoutes()
	return nil
}

// run starts every part and stops them in the order of who needs whom: Docker
// first loses its socket and the loops end, then the session lets go of the
// store, then the store itself stops. The first part to end ends the others.
// An agent that was told to stop for good says so to its peers before all
// that; what broke, or makes room for its successor, is back before they ask.
func (p *parts) run(ctx context.Context) error {
	truth := begin(p.truth.run)
	session := begin(p.session.Run)
	serving := begin(p.serve)
	select {
	case <-ctx.Done():
	case <-truth.done:
	case <-session.done:
	case <-serving.done:
	}
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), ErrSucceeded) {
		p.leave()
	}
	return errors.Join(serving.end(), session.end(), truth.end())
}

// stage is a part that runs until it is ended.
type stage struct {
	stop context.CancelFunc
	done chan struct{}
	err  error // read after done
}

func begin(run func(context.Context) error) *stage {
	ctx, stop := context.WithCancel(context.Background())
	s := &stage{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = run(ctx)
	}()
	return s
}

// end stops the part and returns how it ended.
func (s *stage) end() error {
	s.stop()
	<-s.done
	return s.err
}

// serve answers Docker and looks after its networks until ctx ends.
func (p *parts) serve(ctx context.Context) error {
	notify, err := newNotifier(p.alive, p.log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{
		func(ctx context.Context) error { return p.plugin.Serve(ctx, p.socket) },
		p.status.Run, p.addresses.Run, p.driver.Run, p.reassert, p.settleName, p.endQuarantines, p.runGossip, p.runNames, p.serveNames, p.pushNames, p.restartFailed, p.returnEvicted,
	} {
		group.Go(func() error { return part(ctx) })
	}
	group.Go(func() error { notify.run(ctx, p.session.Opened(), p.config.BootWait); return nil })
	return group.Wait()
}

// alive is what systemd's watchdog asks: whether the plugin answers on its
// own socket as it would answer Docker.
func (p *parts) alive(ctx context.Context) error {
	client := api.NewClient(p.socket.Addr().String())
	var manifest struct{ Implements []string }
	return client.Ask(ctx, http.MethodPost, "/Plugin.Activate", &manifest)
}

// solo tells whether no other host shares this agent's etcd.
func (p *parts) solo() bool { return p.config.Mode() == config.ModeSolo }

// close gives back what was opened.
func (p *parts) close() error {
	var failed error
	if p.socket != nil {
		failed = errors.Join(failed, ignoreClosed(p.socket.Close()))
	}
	if p.engine != nil {
		failed = errors.Join(failed, p.engine.Close())
	}
	if p.links != nil {
		failed = errors.Join(failed, p.links.Close())
	}
	if p.truth != nil {
		failed = errors.Join(failed, p.truth.close())
	}
	if p.journal != nil {
		failed = errors.Join(failed, p.journal.Close())
	}
	if failed != nil {
		return fmt.Errorf("stop the agent: %w", failed)
	}
	return nil
}

// ignoreClosed is for a listener that its server closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
