//go:build !race

// GoBGP marks routes stale while it reads them, and has one setting for all its servers
// of a process: the race detector fails its tests for that.

package bgp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"gvlan/driver/bgp/peer"
	"gvlan/driver/route"
)

// limit bounds what is waited for; a session takes two seconds to begin with.
const limit = time.Minute

// eventually waits until it is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// router is a BGP speaker of somebody else's, on the loopback.
type router struct {
	t       *testing.T
	server  *server.BgpServer
	address netip.AddrPort
	as      peer.AS
}

// hosts are where the speakers of these tests connect from.
const hosts = "127.0.0.1"

// newRouter makes a router of an AS that takes one of the hosts' AS for a neighbor, with
// that password.
func newRouter(t *testing.T, as, hostAS peer.AS, password string) *router {
	t.Helper()
	r := &router{t: t, server: server.NewBgpServer(), address: freeAddress(t), as: as}
	var serving sync.WaitGroup
	serving.Go(r.server.Serve)
	t.Cleanup(func() {
		r.server.Stop()
		serving.Wait()
	})
	r.must(r.server.StartBgp(t.Context(), &api.StartBgpRequest{Global: &api.Global{
		Asn: uint32(as), RouterId: r.address.Addr().String(), ListenPort: int32(r.address.Port()), ListenAddresses: []string{r.address.Addr().String()},
	}}))
	neighbor := neighbor(peer.Peer{Address: netip.AddrPortFrom(netip.MustParseAddr(hosts), 0), AS: hostAS, Password: password})
	neighbor.Transport = &api.Transport{PassiveMode: true, LocalAddress: r.address.Addr().String()}
	neighbor.GracefulRestart.LocalRestarting = false
	r.must(r.server.AddPeer(t.Context(), &api.AddPeerRequest{Peer: neighbor}))
	return r
}

// addresses counts those of the loopback that routers were given: tests run beside each
// other.
var addresses atomic.Uint32

// freeAddress is where nobody listens; each router needs an address of its own, because
// a session is known by it.
func freeAddress(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 200 {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(addresses.Add(1))}), 1790)
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return at
	}
	t.Fatal("no free address on the loopback")
	return netip.AddrPort{}
}

func (r *router) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// peer is the router as a setting names it.
func (r *router) peer() peer.Peer { return peer.Peer{Address: r.address, AS: r.as} }

// has are the routes it knows of others, with their next hops.
func (r *router) has() (all []route.Route, stale int) {
	for _, family := range []bgp.Family{bgp.RF_IPv4_UC, bgp.RF_IPv6_UC} {
		r.must(r.server.ListPath(apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: family}, func(nlri bgp.NLRI, paths []*apiutil.Path) {
			s := Speaker{cfg: Config{Import: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}}
			if one, is := s.learnt(nlri, paths); is {
				all = append(all, one)
				if paths[0].Stale {
					stale++
				}
			}
		}))
	}
	slices.SortFunc(all, func(a, b route.Route) int { return a.Dst.Addr().Compare(b.Dst.Addr()) })
	return all, stale
}

// endings has a router tell why its sessions end.
func (r *router) endings() <-chan api.PeerState_DisconnectReason {
	r.t.Helper()
	ends := make(chan api.PeerState_DisconnectReason, 10)
	var was bgp.FSMState
	r.must(r.server.WatchEvent(r.t.Context(), server.WatchEventMessageCallbacks{OnPeerUpdate: func(ev *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
		if was == bgp.BGP_FSM_ESTABLISHED {
			ends <- ev.Peer.State.DisconnectReason
		}
		was = ev.Peer.State.SessionState
	}}, server.WatchPeer()))
	return ends
}

// heard is what a host says of itself as it connects (RFC 5492).
func (r *router) heard() (all []bgp.ParameterCapabilityInterface) {
	r.must(r.server.ListPeer(r.t.Context(), &api.ListPeerRequest{}, func(p *api.Peer) {
		var err error
		all, err = apiutil.UnmarshalCapabilities(p.State.RemoteCap)
		r.must(err)
	}))
	return all
}

// fresh reports whether it has these routes, and nothing of before a restart.
func (r *router) fresh(want ...route.Route) func() bool {
	return func() bool {
		all, stale := r.has()
		return stale == 0 && slices.Equal(all, want)
	}
}

// tells has it announce a route.
func (r *router) tells(dst, via string) {
	r.t.Helper()
	p, err := path(netip.MustParsePrefix(dst), netip.MustParseAddr(via))
	r.must(err)
	_, err = r.server.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{p}})
	r.must(err)
}

// resets has it end its session with the hosts.
func (r *router) resets() {
	r.t.Helper()
	r.must(r.server.ResetPeer(r.t.Context(), &api.ResetPeerRequest{Address: hosts}))
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// host is a speaker that runs.
type host struct {
	*Speaker
	clock   *clock
	changed chan struct{}
	end     func() // and wait for it
}

const hostAS peer.AS = 4200000001

func newHost(t *testing.T, edit func(*Config), peers ...peer.Peer) *host {
	t.Helper()
	h := &host{clock: &clock{now: time.Now()}, changed: make(chan struct{}, 100)}
	c := Config{
		AS: hostAS, RouterID: netip.MustParseAddr("192.0.2.1"), Peers: peers,
		Changed: func() { h.changed <- struct{}{} }, Now: h.clock.Now, Log: slog.New(slog.DiscardHandler),
	}
	if edit != nil {
		edit(&c)
	}
	h.Speaker = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	h.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the speaker ended with %v", err)
		}
	})
	t.Cleanup(h.end)
	return h
}

// up reports whether all its sessions are.
func (h *host) up() bool {
	return !slices.ContainsFunc(h.Sessions(), func(s Session) bool { return s.State != established })
}

func to(dst, via string) route.Route {
	return route.Route{Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr(via)}
}

func deletion(p *apiutil.Path) apiutil.DeletePathRequest {
	return apiutil.DeletePathRequest{Paths: []*apiutil.Path{p}}
}
