// Package bgp tells routers where this host's containers are: an embedded BGP
// speaker (RFC 4271) for IPv4 and IPv6 unicast, which learns nothing unless it is told
// which prefixes. It is GoBGP as a library, alone in knowing it. See DESIGN.md in this
// folder.
//
//	speaker.go   one server: its beginning, its end, what wakes it
//	rules.go     what it passes on, and what it takes
//	routes.go    what is announced, and what was learned
//	sessions.go  how the sessions fare, and why one is not there
//	log.go       what the library says of itself
package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"

	"gvlan/driver/bgp/peer"
	"gvlan/driver/route"
)

// Config is what a Speaker is made of. Every field is needed unless it says
// otherwise.
type Config struct {
	AS       peer.AS
	RouterID netip.Addr // IPv4, unlike any other speaker's of this AS
	Peers    []peer.Peer
	Import   []netip.Prefix // inside of which routes are learned; none: nowhere
	// Changed is called when what Learned gives is another; it must not block. nil:
	// nobody is.
	Changed func()
	Now     func() time.Time
	Log     *slog.Logger
}

// Speaker speaks BGP with this host's routers while Run runs. Its other methods may
// be called at any time and wait for no peer.
type Speaker struct {
	cfg    Config
	wake   chan struct{} // there may be something else to announce
	heard  chan struct{} // peers may have said something else
	goes   chan struct{} // closed by Leave
	gone   chan struct{} // closed when peers were told
	ending sync.Once

	mu      sync.Mutex
	told    bool                        // Announce was called
	want    map[netip.Prefix]netip.Addr // next hops
	learned []route.Route
	peers   map[netip.Addr]*session
	server  *server.BgpServer // nil while it does not run
	broken  error             // why it does not
}

// New makes a speaker that nobody hears until Run.
func New(cfg Config) *Speaker {
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	s := &Speaker{
		cfg: cfg, peers: map[netip.Addr]*session{},
		wake: make(chan struct{}, 1), heard: make(chan struct{}, 1), goes: make(chan struct{}), gone: make(chan struct{}),
	}
	for _, p := range cfg.Peers {
		s.peers[p.Address.Addr()] = &session{since: cfg.Now()}
	}
	return s
}

// Timers of a session, in seconds.
const (
	// restartTime is how long peers keep the routes of an agent that is away
	// (RFC 4724): longer than an upgrade takes.
	restartTime = 120
	// deferral is how long, after a restart, the routes of peers are waited for before
	// ours are told: ours do not follow from theirs.
	deferral  = 1
	holdTime  = 30 // a peer that is silent so long is away
	keepalive = holdTime / 3
	retry     = 5 // between two tries to connect
)

// Run speaks with the peers until ctx ends, from the first Announce on: a peer that
// kept routes over a restart drops those that it is not told again at once. It does not
// fail for what peers do. Peers are not told of the end, and keep the routes for
// restartTime; Leave tells them.
func (s *Speaker) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.wake:
	}
	level := &slog.LevelVar{}
	level.Set(slog.LevelDebug) // what is wrong with a peer is said there
	b := server.NewBgpServer(server.LoggerOption(slog.New(&ear{to: s.cfg.Log.Handler(), says: s.says}), level))
	var serving sync.WaitGroup
	serving.Go(b.Serve)
	defer serving.Wait()
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	if err := s.start(watching, b); err != nil {
		s.set(nil, fmt.Errorf("start BGP: %w", err))
		s.cfg.Log.Error("BGP does not work", "err", err)
	} else {
		s.set(b, nil)
		s.speak(ctx, b)
	}
	s.set(nil, s.why())
	return s.stop(ctx, b)
}

// start has the server know the rules, the routes and the peers.
func (s *Speaker) start(ctx context.Context, b *server.BgpServer) error {
	const nowhere = -1
	err := b.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: uint32(s.cfg.AS), RouterId: s.cfg.RouterID.String(), ListenPort: nowhere,
	}})
	if err != nil {
		return err
	}
	if err := rule(ctx, b, s.cfg.Import); err != nil {
		return err
	}
	if err := s.watch(ctx, b); err != nil {
		return err
	}
	for _, p := range s.cfg.Peers {
		if err := b.AddPeer(ctx, &api.AddPeerRequest{Peer: neighbor(p)}); err != nil {
			return fmt.Errorf("peer %s: %w", p.Called(), err)
		}
	}
	return nil
}

// neighbor is a peer as the library wants it.
func neighbor(p peer.Peer) *api.Peer {
	family := func(afi api.Family_Afi) *api.AfiSafi {
		return &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: afi, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}
	}
	const farthest = 255 // a peer may be some routers away; one that demands 255 (RFC 5082) gets it
	return &api.Peer{
		Conf:         &api.PeerConf{NeighborAddress: p.Address.Addr().String(), PeerAsn: uint32(p.AS), AuthPassword: p.Password},
		Transport:    &api.Transport{RemotePort: uint32(p.Address.Port())},
		EbgpMultihop: &api.EbgpMultihop{Enabled: true, MultihopTtl: farthest},
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry: retry, HoldTime: holdTime, KeepaliveInterval: keepalive, IdleHoldTimeAfterReset: retry,
		}},
		// An agent does not know whether peers keep routes of its predecessor, and
		// forwarding goes on without it: it always says so (RFC 4724, R and F). The
		// notifications of RFC 8538 tell a peer whether to keep the routes.
		GracefulRestart: &api.GracefulRestart{
			Enabled: true, RestartTime: restartTime, DeferralTime: deferral, NotificationEnabled: true, LocalRestarting: true,
		},
		AfiSafis: []*api.AfiSafi{family(api.Family_AFI_IP), family(api.Family_AFI_IP6)},
	}
}

// watch has the server say what peers do.
func (s *Speaker) watch(ctx context.Context, b *server.BgpServer) error {
	callbacks := server.WatchEventMessageCallbacks{OnPeerUpdate: s.peerIs}
	options := []server.WatchOption{server.WatchPeer()}
	if len(s.cfg.Import) > 0 {
		callbacks.OnBestPath = s.bestIs
		options = append(options, server.WatchBestPath(true))
	}
	return b.WatchEvent(ctx, callbacks, options...)
}

// speak keeps the server's routes as they are wanted, until ctx ends or Leave is
// called.
func (s *Speaker) speak(ctx context.Context, b *server.BgpServer) {
	announced := map[netip.Prefix]netip.Addr{}
	s.announce(b, announced)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.goes:
			return
		case <-s.wake:
			s.announce(b, announced)
		case <-s.heard:
			s.learn(b)
		}
	}
}

// stop ends the server; peers drop the routes at once if Leave was called.
func (s *Speaker) stop(ctx context.Context, b *server.BgpServer) error {
	leaving := s.leaving()
	if leaving {
		withdraw(b)
	}
	err := b.StopBgp(context.WithoutCancel(ctx), &api.StopBgpRequest{AllowGracefulRestart: !leaving})
	b.Stop() // what else it started
	close(s.gone)
	if err != nil {
		return fmt.Errorf("stop BGP: %w", err)
	}
	if leaving {
		<-ctx.Done()
	}
	return nil
}

// Leave has peers drop what this host announced, at once, for a host that stops for
// good: it withdraws everything and ends the sessions with a hard reset (RFC 8538), or,
// where a peer knows none, by a Cease. It returns when that is done or ctx ends; Run goes
// on until its own ctx ends, and nothing is announced any more.
func (s *Speaker) Leave(ctx context.Context) error {
	runs := s.running() != nil
	s.ending.Do(func() { close(s.goes) })
	if !runs {
		return nil
	}
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tell the BGP peers that this host goes: %w", context.Cause(ctx))
	}
}

func (s *Speaker) leaving() bool {
	select {
	case <-s.goes:
		return true
	default:
		return false
	}
}

// set notes which server runs, or why none does.
func (s *Speaker) set(b *server.BgpServer, broken error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server, s.broken = b, broken
}

// why is why no server runs.
func (s *Speaker) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// running is the server, nil while none runs.
func (s *Speaker) running() *server.BgpServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// tell wakes whoever waits, or will wait next, for c.
func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
