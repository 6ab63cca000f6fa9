package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"gvlan/cluster"
	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/group"
	"gvlan/cluster/store/hosting"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/answer"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/metrics"
	"gvlan/cmd/internal/systemd"
	"gvlan/cmd/internal/web"
	"gvlan/driver"
	"gvlan/driver/arp"
	"gvlan/driver/engine"
	"gvlan/driver/host"
	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/oui"
	"gvlan/driver/plugin"
	"gvlan/driver/route"
	"gvlan/driver/trouble"
	"gvlan/ipam"
	"gvlan/ipam/evict"
	"gvlan/ipam/node"
	"gvlan/ipam/pool"
	"gvlan/parentfile"
)

// Outside is what an agent meets beyond gvlan. Tests of many hosts in memory
// give each host one of its own; a nil field stands for the real thing on this
// host, as the settings name it.
type Outside struct {
	Store  store.Backend                  // the database
	Links  host.Links                     // the kernel
	Engine host.Engine                    // Docker
	Routes func() ([]netip.Prefix, error) // of the host, but for default ones
	AskLAN func(ctx context.Context, ifname string, addrs []netip.Addr) (answering []netip.Addr, err error)
	// AnswersLAN is asked before an address is given; nil beside an AskLAN: nobody is.
	AnswersLAN func(ctx context.Context, ifname string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error)
	Elsewhere  func() ([]*netns.Namespace, error) // the host's other network namespaces
	Reach      host.Routes                        // the host's own routes and neighbours
	// Answers and Neighbours tell people who is on the LAN at an interface.
	Answers    func(ctx context.Context, ifname string, addrs []netip.Addr) (map[netip.Addr][]net.HardwareAddr, error)
	Neighbours func(ifname string) ([]link.Neighbour, error)
}

// orThisHost fills in the functions that are nil: each asks this host and needs
// nothing opened before.
func (o Outside) orThisHost() Outside {
	if o.Routes == nil {
		o.Routes = link.Routes
	}
	if o.AskLAN == nil {
		o.AskLAN, o.AnswersLAN = link.Ask, link.AnswersWithin
	}
	if o.Elsewhere == nil {
		o.Elsewhere = netns.Others
	}
	if o.Answers == nil {
		o.Answers = link.Answers
	}
	if o.Neighbours == nil {
		o.Neighbours = link.Neighbours
	}
	return o
}

// Agent holds the parts of this host's agent, in the order in which build opens
// them.
type Agent struct {
	config  config.Config
	outside Outside
	self    Identity
	version string
	started time.Time
	log     *slog.Logger

	journal *disk.Journal
	memory  *journal.Memory // networks, endpoints, addresses
	past    past            // the cluster
	trail   *events.Recorder
	arrived bool       // from another store, with networks
	address netip.Addr // other hosts reach this one by

	truth   *truth
	session *session.Session
	nodes   *nodes
	records *answer.Records
	lan     lan
	names   *names

	links     host.Links
	engine    host.Engine
	addresses *ipam.Allocator
	driver    *driver.Driver
	ears      *arp.Ears // nil: this host's LANs are not listened to
	routers   routers
	recovery  *recovery
	moves     *moves
	backups   backups

	troubles   *trouble.Book // what lasts, and no part tells of
	metrics    *metrics.Metrics
	conditions conditions
	unstarted  unstarted
	exporter   *metrics.Server
	pages      pages

	plugin *plugin.Plugin
	socket net.Listener // the plugin's
	status *api.Server

	opened []io.Closer // by build, in this order
}

// New builds an agent with settings that were checked, in a folder that is its
// own. Nothing runs until Run.
func New(ctx context.Context, c config.Config, self Identity, outside Outside, version string, log *slog.Logger) (*Agent, error) {
	a := &Agent{config: c, outside: outside.orThisHost(), self: self, version: version, log: log, started: time.Now(), metrics: metrics.New(version), troubles: trouble.NewBook(time.Now, log)}
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// Run runs the agent until ctx ends, and gives back what New opened.
func (a *Agent) Run(ctx context.Context) error {
	return errors.Join(a.run(ctx), a.close())
}

// build opens what the agent is made of, each part after those it needs. All it
// asks of others is the names of etcd's hosts (cluster.Advertise), which is bounded.
func (a *Agent) build(ctx context.Context) error {
	if err := a.openMemory(); err != nil {
		return err
	}
	if err := a.openTruth(ctx); err != nil {
		return err
	}
	if err := a.openCluster(); err != nil {
		return err
	}
	if err := a.openHost(); err != nil {
		return err
	}
	if err := a.openDriver(); err != nil {
		return err
	}
	a.openMetrics()
	return a.openSockets()
}

// openMemory opens what this host remembers.
func (a *Agent) openMemory() (err error) {
	if a.journal, err = openJournal(a.config.DataDir, a.self.Boot, a.log); err != nil {
		return err
	}
	a.opened = append(a.opened, a.journal)
	a.past = past{a.journal.Bucket("past")}
	if a.trail, err = events.New(events.Config{Node: a.self.Node, Keeper: a.journal.Bucket("events"), Now: time.Now, Log: a.log}); err != nil {
		return err
	}
	a.memory, err = journal.Recall(a.journal)
	return err
}

// openTruth prepares the store and this node's session with it.
func (a *Agent) openTruth(ctx context.Context) (err error) {
	if a.address, err = advertised(ctx, a.config); err != nil {
		return err
	}
	if a.outside.Store != nil {
		a.truth = &truth{backend: a.outside.Store, log: a.log}
	} else if a.truth, err = newTruth(a.config, a.self, a.address, len(a.memory.Networks()), a.trail, a.log); err != nil {
		return err
	}
	a.opened = append(a.opened, a.truth)
	if err := a.forgetFormer(); err != nil {
		return err
	}
	if err := a.past.claimJournal(a.self.Node, a.config.DataDir); err != nil {
		return err
	}
	returned, err := a.past.returned()
	if err != nil {
		return err
	}
	a.session = session.New(a.metrics.Store(a.truth.backend), session.Identity{
		Node: a.self.Node, Install: a.self.Install, Boot: a.self.Boot, Host: a.self.Host,
		Address: a.address.String(), Version: a.version, Gossip: gossipAddress(a.config, a.address), Returned: returned,
	}, a.past, a.log)
	return nil
}

// openCluster prepares what follows the store and tells other nodes: who is
// there, what is shown, which names there are.
func (a *Agent) openCluster() error {
	a.nodes = &nodes{config: a.config, self: a.self, session: a.session, troubles: a.troubles, seeds: a.truth.memberHosts(), directory: cluster.NewDirectory(a.log), log: a.log}
	if err := a.nodes.join(a.address); err != nil {
		return err
	}
	a.records = answer.NewRecords(a.session, a.nodes.directory, a.log)
	a.lan = lan{directory: a.nodes.directory, node: a.self.Node, askAt: a.outside.AskLAN, troubles: trouble.NewBook(time.Now, a.log)}
	a.names = &names{config: a.config.DNS, node: a.self.Node, nodes: a.nodes, updates: a.journal.Bucket("dns-updates"), unserved: trouble.NewBook(time.Now, a.log), again: unservedAgain, log: a.log}
	if err := a.names.open(a.address); err != nil {
		return err
	}
	a.records.Networks.Tell(a.names.zone.ApplyNetworks)
	a.records.Endpoints.Tell(a.names.zone.ApplyEndpoints)
	return nil
}

// openHost opens this host's kernel and engine.
func (a *Agent) openHost() error {
	a.links, a.engine = a.outside.Links, a.outside.Engine
	if a.links == nil {
		kernel, err := link.Open(link.Current, a.config.DriverName)
		if err != nil {
			return err
		}
		kernel.SysctlsAt(a.config.HostPath("/proc/sys"))
		a.links, a.opened = kernel, append(a.opened, kernel)
	}
	if a.outside.Links == nil && a.outside.Reach == nil {
		routes, err := route.Open(link.Current, int(a.config.RouteProtocol))
		if err != nil {
			return err
		}
		a.outside.Reach, a.opened = routes, append(a.opened, routes)
	}
	if a.engine == nil {
		docker, err := engine.New(engine.Config{Socket: a.config.EngineSocket()})
		if err != nil {
			return err
		}
		a.engine, a.opened = docker, append(a.opened, docker)
	}
	return nil
}

// openDriver makes the allocator and the driver, which know each other: the
// allocator asks the driver whether an endpoint is dead.
func (a *Agent) openDriver() (err error) {
	endpoints := &lateEndpoints{}
	lan := node.Config{}
	if a.outside.AnswersLAN != nil {
		a.ears = arp.New(arp.Config{Networks: endpoints.OnLAN, Heard: endpoints.Heard, Troubles: a.troubles, Log: a.log})
		lan.Answers, lan.Listens = endpoints.Answers, a.ears.Listens
	}
	a.addresses = ipam.New(node.Config{
		Answers: lan.Answers, Listens: lan.Listens, Vendor: oui.New(a.config.HostPath).Of,
		KV: group.New(a.session), Grant: a.session.Grant, Self: a.session, Memory: a.memory, Endpoints: endpoints, Events: a.trail, Ask: endpoints.Ask,
		Routes: a.outside.Routes, DefaultPools: defaultPools(a.config.Pools), Log: a.log,
	})
	a.records.Endpoints.Tell(a.addresses.ApplyEndpoints)
	made := host.Config{
		Name: a.config.DriverName, KV: a.session, Self: a.session, Addresses: a.addresses, Events: a.trail,
		Links: a.links, Engine: a.engine, AskLAN: a.outside.AskLAN, AnswersLAN: a.outside.AnswersLAN, Elsewhere: a.outside.Elsewhere,
		Memory: a.memory, Settings: a.journal.Bucket("labels"),
		Hosts:  parentfile.HostTable{Default: a.config.Parents.Default, Networks: a.config.Parents.Networks},
		OnHost: a.config.HostPath,
		Node: store.Node{
			Node: a.self.Node, Host: a.self.Host, Address: a.address.String(),
			Gossip: gossipAddress(a.config, a.address), Version: a.version, Store: a.truth.storeAddress(),
		},
		Tables: host.Tables{Networks: a.records.Networks, Live: a.nodes.directory.Live(), Nodes: a.nodes.directory.Nodes(), Epochs: a.nodes.directory.Epochs(), Endpoints: a.records.Endpoints},
		Swarm:  a.config.Swarm, Solo: a.truth.solo, Drained: a.nodes.drained, Now: time.Now, Log: a.log,
	}
	if a.outside.Reach != nil {
		made.Routes, made.Inside, made.RoutesTable = a.outside.Reach, a.inside, int(a.config.RoutesTable)
		made.Defaults = journal.Defaults{HostAccess: a.config.HostAccess, NoRoutes: a.config.Routes == config.RoutesOff}
	}
	a.routers = newRouters(a.config.BGP, a.self.Node, a.address, func() { host.Tell(a.driver.Ways) }, a.log)
	if a.routers.speaker != nil {
		made.Speaker, made.Import = a.routers.speaker, a.config.BGP.Import
	}
	if a.names.sandboxes != nil {
		made.Resolvers = a.names.sandboxes
	}
	if a.driver, err = driver.New(made); err != nil {
		return err
	}
	endpoints.driver = a.driver
	a.records.Endpoints.Tell(a.driver.Line.Apply)
	a.moves = &moves{
		own: a.truth.own, trail: a.trail, dir: a.config.DataDir, memory: a.memory, session: a.session, driver: a.driver, nodes: a.nodes, addresses: a.addresses, log: a.log,
		settings: a.config, made: make(chan struct{}), stayed: make(chan struct{}),
	}
	a.backups = backups{
		own: a.truth.own, client: a.truth.client, session: a.session, dir: filepath.Join(a.config.DataDir, "backups"), version: a.version, log: a.log,
	}
	a.recovery = &recovery{
		node: a.self.Node, session: a.session, addresses: a.addresses, driver: a.driver, peers: a.nodes.peers,
		past: a.past, restartFailed: a.config.RestartFailed, arrived: a.arrived, troubles: a.troubles, log: a.log,
	}
	return nil
}

// inside opens the routes and neighbours of a sandbox.
func (a *Agent) inside(sandbox string, f func(host.Routes) error) error {
	ns, err := netns.Open(sandbox)
	if err != nil {
		return err
	}
	defer ns.Close()
	there, err := route.Open(ns.Fd(), int(a.config.RouteProtocol))
	if err != nil {
		return err
	}
	defer there.Close()
	return f(there)
}

// lateEndpoints lets the allocator reach the driver that is built after it.
type lateEndpoints struct{ driver *driver.Driver }

// Silence implements node.Endpoints.
func (d *lateEndpoints) Silence(endpoint string, addr netip.Addr) error {
	return d.driver.Silence(endpoint, addr)
}

// Withdraw implements node.Endpoints.
func (d *lateEndpoints) Withdraw(endpoint string, addr netip.Addr) error {
	return d.driver.TakeOut(endpoint, addr)
}

// Restored implements node.Endpoints.
func (d *lateEndpoints) Restored(endpoint string) { d.driver.Republish(endpoint) }

// Ask asks on the LAN of a network.
func (d *lateEndpoints) Ask(ctx context.Context, network string, addrs []netip.Addr) ([]netip.Addr, error) {
	return d.driver.Ask(ctx, network, addrs)
}

// Answers asks on the LAN of a network before addresses of it are given.
func (d *lateEndpoints) Answers(ctx context.Context, network string, addrs []netip.Addr, patience time.Duration) (map[netip.Addr][]net.HardwareAddr, error) {
	return d.driver.Answers(ctx, network, addrs, patience)
}

// OnLAN are the networks that it is listened for.
func (d *lateEndpoints) OnLAN(ctx context.Context) ([]arp.Network, error) { return d.driver.OnLAN(ctx) }

// Heard tells who uses an address on the LAN of a network.
func (d *lateEndpoints) Heard(network string, addr netip.Addr, mac net.HardwareAddr) {
	d.driver.Addresses.Heard(network, addr, slices.Clone(mac))
}

// CloseDead implements node.Endpoints.
func (d *lateEndpoints) CloseDead(ctx context.Context, endpoint string) (bool, error) {
	return d.driver.CloseDead(ctx, endpoint)
}

// openSockets takes the plugin's and the status socket. From here on Docker's
// connections wait in the plugin's backlog until run serves them.
func (a *Agent) openSockets() (err error) {
	a.plugin = plugin.New(plugin.Config{Driver: a.driver, Addresses: a.addresses, Swarm: a.config.Swarm, Observe: a.metrics.Called, Log: a.log})
	a.metrics.Expect(a.plugin.Methods())
	if a.socket, err = plugin.Listen(a.config.PluginSocketDir, a.config.PluginSocket()); err != nil {
		return err
	}
	a.opened = append(a.opened, a.socket)
	if a.status, err = api.NewServer(a.config.StatusSocket, a.log); err != nil {
		return err
	}
	a.register()
	return a.openPages()
}

// openPages makes the page, and the door that leads to it.
func (a *Agent) openPages() (err error) {
	site := a.site()
	a.status.Site(api.SitePath, http.StripPrefix(strings.TrimSuffix(api.SitePath, "/"), site))
	a.pages, err = newPages(a.config, a.self.Host, a.address, site, a.log)
	a.status.Handle("POST "+api.WebKeyRoute, func(*http.Request) (any, error) { return a.pages.link() })
	return err
}

// register has the status socket answer for every part.
func (a *Agent) register() {
	roster := a.nodes.roster()
	answer.Status{
		Roster: roster, Records: a.records, Host: a.self.Host, Version: a.version, Started: a.started, Solo: a.truth.solo, Endpoints: a.truth.addresses, Own: a.truth.own,
		Session: a.session, Addresses: a.addresses, Driver: a.driver, Engine: a.engine, Others: a.others,
	}.Register(a.status)
	answer.Networks{Roster: roster, Records: a.records, Driver: a.driver, Node: a.self.Node, Reservations: a.addresses.Reservations, AS: a.config.BGP.AS, Speaker: a.routers.speaker}.Register(a.status)
	answer.Nodes{Roster: roster, Records: a.records, Session: a.session, Ask: a.lan.ask, Events: a.trail, Own: a.truth.own, Client: a.truth.client, Log: a.log}.Register(a.status)
	answer.Names{Roster: roster, Zone: a.names.zone, Listen: a.config.DNS.Listen, Records: a.records}.Register(a.status)
	leases := answer.Leases{
		Roster: roster, Records: a.records, KV: a.session, Conflicts: a.addresses.Conflicts, Called: a.driver.Called, Zone: a.names.zone, Events: a.trail,
		Reservations: a.addresses.Reservations,
		Holds: func(at pool.Place) bool {
			_, held := a.memory.Lease(at)
			return held
		},
		Answers: a.outside.Answers, Neighbours: a.outside.Neighbours, Learnt: a.driver.Sandboxes.Learnt,
	}
	leases.Register(a.status)
	answer.Subnets{Leases: leases}.Register(a.status)
	answer.Conflicts{Roster: roster, Foreign: a.addresses.Foreign(), Leases: leases}.Register(a.status)
	answer.Stores{Roster: roster, Own: a.truth.own, Client: a.truth.client, Session: a.session, Backup: a.backups.write}.Register(a.status)
	answer.Events{Recorder: a.trail, KV: a.session, Roster: roster, Records: a.records}.Register(a.status)
	answer.Audit{
		Roster: roster, Session: a.session, Driver: a.driver, Events: a.trail, Leases: leases, Observe: a.metrics.Audited, Log: a.log,
	}.Register(a.status)
	answer.Doctor{Session: a.session, Config: a.config}.Register(a.status)
	a.recovery.register(a.status)
	a.moves.register(a.status)
}

// site makes the pages, which look again when what this agent follows changes.
func (a *Agent) site() http.Handler {
	bell := web.NewBell()
	ring := func(store.Change) { bell.Ring() }
	a.records.Networks.Tell(ring)
	a.records.Endpoints.Tell(ring)
	a.nodes.directory.Nodes().Tell(ring)
	a.nodes.directory.Live().Tell(ring)
	site := &web.Site{Agent: a.status.Reader(), Bell: bell, Host: a.self.Host, Version: a.version, Now: time.Now, Log: a.log}
	return site.Handler()
}

// forgetFormer drops what this host remembers of the store it used before it
// came to another. One that was let into its own cluster again, after an eviction,
// keeps it.
func (a *Agent) forgetFormer() error {
	own := a.truth.own
	if own == nil || !own.Moved() {
		return nil
	}
	known, err := a.past.LoadPast()
	if err != nil {
		return err
	}
	if own.Cluster() == "" || known.Cluster != own.Cluster() {
		if err := errors.Join(a.past.forget(), forgetPeers(a.config)); err != nil {
			return err
		}
	}
	a.arrived = len(a.memory.Networks()) > 0
	return own.Settle()
}

// run runs the parts until ctx ends, or one of them does. They stop in the order
// of who needs whom: Docker loses its socket and the loops end, then the
// session lets go of the store, then the store itself stops. An agent that was
// told to stop for good says so to its peers before all that; one that broke, or
// that a successor replaces, is back before they notice.
func (a *Agent) run(ctx context.Context) error {
	etcd := start(func(ctx context.Context) error { return a.truth.run(ctx, a.session) })
	sess := start(a.session.Run)
	trail := start(func(ctx context.Context) error {
		a.trail.Run(ctx, a.session, a.session)
		return nil
	})
	service := start(a.serve)
	select {
	case <-ctx.Done():
	case <-a.moves.made:
	case <-etcd.ended:
	case <-sess.ended:
	case <-service.ended:
	}
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), ErrSucceeded) {
		a.routers.leave()
		a.nodes.leave()
	}
	if sess.endedBy(store.ErrEvicted) { // its addresses may be others' before it is back
		a.routers.leave()
	}
	var why error
	if ctx.Err() == nil && (a.moves.goesOn() || etcd.endedBy(hosting.ErrMoved)) {
		why = systemd.ErrGoesOn
	}
	service.stop(why)
	a.farewell(ctx, why)
	trail.stop(nil)
	sess.stop(nil)
	etcd.stop(nil)
	return errors.Join(service.err, sess.err, etcd.err, a.moves.outcome())
}

// farewell tells other hosts, if the store answers at once, that this one goes,
// and why: ctx is the agent's, and ended if it was told to; moved is why it ends
// where its host goes on with another store.
func (a *Agent) farewell(ctx context.Context, moved error) {
	why := "its agent ended by itself"
	switch {
	case moved != nil:
		why = "it uses another store from now on"
	case errors.Is(context.Cause(ctx), ErrSucceeded):
		why = "another agent takes over"
	case ctx.Err() != nil:
		why = "its agent was stopped"
	}
	if err := a.trail.Leave(context.WithoutCancel(ctx), a.session, a.session, why); err != nil {
		a.log.Debug("other hosts are not told why this one goes", "err", err)
	}
}

// running is a part that was started and is stopped on its own, whatever
// became of the others.
type running struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error // how it ended; read after ended
}

func start(run func(context.Context) error) *running {
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &running{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = run(ctx)
	}()
	return r
}

// stop ends the context of the part, with that cause, and returns when the part has
// ended.
func (r *running) stop(why error) {
	r.cancel(why)
	<-r.ended
}

// endedBy reports whether the part has ended by an error.
func (r *running) endedBy(err error) bool {
	select {
	case <-r.ended:
		return errors.Is(r.err, err)
	default:
		return false
	}
}

// serve answers Docker and looks after its networks until ctx ends; the first
// of these loops to fail ends the others. None waits for etcd to begin.
func (a *Agent) serve(ctx context.Context) error {
	notify, err := systemd.New(a.alive, a.log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	loop := func(run func(context.Context) error) { group.Go(func() error { return run(ctx) }) }

	loop(func(ctx context.Context) error { return a.plugin.Serve(ctx, a.socket) })
	loop(a.status.Run)
	loop(func(ctx context.Context) error {
		notify.Run(ctx, a.session.Opened(), a.config.BootWait)
		return nil
	})

	loop(a.nodes.run)
	witness := events.Witness{Recorder: a.trail, Live: a.nodes.directory.Live(), Epochs: a.nodes.directory.Epochs(), Version: a.version}
	loop(func(ctx context.Context) error { return witness.Run(ctx, a.session, a.session) })
	loop(a.records.Run)
	loop(a.addresses.Run)
	loop(a.addresses.Probe)
	if a.ears != nil {
		loop(a.ears.Run)
	}
	loop(a.routers.run)
	loop(a.driver.Run)

	loop(a.names.run)
	loop(a.names.serve)
	loop(a.names.push)

	loop(a.exporter.Run)
	loop(a.pages.run)
	if a.config.Metrics.Listen != "" {
		loop(func(ctx context.Context) error { return a.unstarted.look(ctx, a.driver.FailedStarts) })
	}
	loop(func(ctx context.Context) error { return a.conditions.tell(ctx, trouble.NewBook(time.Now, a.log)) })

	loop(a.moves.stay)
	loop(a.backups.run)
	loop(a.recovery.reassert)
	loop(a.recovery.settleName)
	loop(a.recovery.takeAgain)
	loop(a.recovery.startAgain)
	quarantines := evict.Quarantines{KV: a.session, Grant: a.session.Grant, Ask: a.lan.ask, Events: a.trail, Log: a.log}
	loop(quarantines.Run)
	return group.Wait()
}

// alive is what systemd's watchdog asks: whether the plugin answers on its
// own socket as it would answer Docker.
func (a *Agent) alive(ctx context.Context) error {
	client := api.NewClient(a.socket.Addr().String())
	var manifest struct{ Implements []string }
	return client.Ask(ctx, http.MethodPost, "/Plugin.Activate", &manifest)
}

// close gives back what build opened, the last first. A listener may be closed
// already, by its server.
func (a *Agent) close() error {
	var failed error
	for _, part := range slices.Backward(a.opened) {
		if err := part.Close(); !errors.Is(err, net.ErrClosed) {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return fmt.Errorf("stop the agent: %w", failed)
	}
	return nil
}
