package agent

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	gobgp "github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/server"

	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/api"
	"gvlan/driver/route/routetest"
)

// TestRouters: an agent that is told to speaks BGP, says with whom, and ends.
func TestRouters(t *testing.T) {
	h := startHost(t, storetest.NewMem(), "h1", "--bgp-as", "65001", "--bgp-peer", "192.0.2.1,65000", "--bgp-peer", "192.0.2.2:1179,65002")
	var view api.BGPView
	if err := h.status.Get(t.Context(), api.BGPRoute, &view); err != nil || view.AS != 65001 || len(view.Sessions) != 2 || view.Sessions[1].Peer != "192.0.2.2:1179" {
		t.Errorf("the agent speaks with %+v, %v", view, err)
	}
	h.stop(t, context.Canceled)
	silent := startHost(t, storetest.NewMem(), "h2")
	if err := silent.status.Get(t.Context(), api.BGPRoute, &view); err != nil || view.AS != 0 || len(view.Sessions) != 0 {
		t.Errorf("an agent without an AS speaks with %+v, %v", view, err)
	}
	silent.stop(t, context.Canceled)
}

// TestRouterID: an address of IPv4 where there is one, never 0, and the same each time.
func TestRouterID(t *testing.T) {
	if got := routerID("h1", netip.MustParseAddr("192.168.1.10")).String(); got != "192.168.1.10" {
		t.Errorf("of an address: %s", got)
	}
	first, other := routerID("h1", netip.MustParseAddr("fd00::1")), routerID("h2", netip.Addr{})
	if !first.Is4() || !other.Is4() || first == other || first.As4()[0] < 128 || first != routerID("h1", netip.MustParseAddr("fd00::2")) {
		t.Errorf("of names: %s, %s", first, other)
	}
	if got := routerID("h1", netip.IPv4Unspecified()); got != first {
		t.Errorf("of no address: %s", got)
	}
}

// TestRoutersAreLeft: an agent that another one succeeds leaves its routes with routers,
// one that stops for good takes them along.
func TestRoutersAreLeft(t *testing.T) {
	for why, want := range map[error]gobgp.PeerState_DisconnectReason{
		ErrSucceeded:     gobgp.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART,
		context.Canceled: gobgp.PeerState_DISCONNECT_REASON_HARD_RESET,
	} {
		t.Run(why.Error(), func(t *testing.T) {
			at, ends := startRouter(t)
			h := startHostWith(t, storetest.NewMem(), "h1", routetest.New(func() []string { return []string{"eth1"} }), "--bgp-as", "65001", "--bgp-peer", at+",65000")
			eventually(t, "the session is there", func() bool {
				var view api.BGPView
				return h.status.Get(t.Context(), api.BGPRoute, &view) == nil && view.Sessions[0].State == "established"
			})
			h.stop(t, why)
			if got := <-ends; got != want {
				t.Errorf("the session ended by %s, want %s", got, want)
			}
		})
	}
}

// startRouter is a router of AS 65000 on the loopback, and why a session with it ended.
func startRouter(t *testing.T) (at string, ends <-chan gobgp.PeerState_DisconnectReason) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.1.1:0")
	must(err)
	listen := netip.MustParseAddrPort(l.Addr().String())
	must(l.Close())
	router := server.NewBgpServer()
	var serving sync.WaitGroup
	serving.Go(router.Serve)
	t.Cleanup(func() {
		router.Stop()
		serving.Wait()
	})
	must(router.StartBgp(t.Context(), &gobgp.StartBgpRequest{Global: &gobgp.Global{
		Asn: 65000, RouterId: "192.0.2.1", ListenPort: int32(listen.Port()), ListenAddresses: []string{listen.Addr().String()},
	}}))
	why := make(chan gobgp.PeerState_DisconnectReason, 100)
	ended := server.WatchEventMessageCallbacks{OnPeerUpdate: func(ev *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
		if got := ev.Peer.State.DisconnectReason; got == gobgp.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART || got == gobgp.PeerState_DISCONNECT_REASON_HARD_RESET {
			why <- got
		}
	}}
	must(router.WatchEvent(t.Context(), ended, server.WatchPeer()))
	family := &gobgp.AfiSafi{
		Config:            &gobgp.AfiSafiConfig{Family: &gobgp.Family{Afi: gobgp.Family_AFI_IP, Safi: gobgp.Family_SAFI_UNICAST}, Enabled: true},
		MpGracefulRestart: &gobgp.MpGracefulRestart{Config: &gobgp.MpGracefulRestartConfig{Enabled: true}},
	}
	must(router.AddPeer(t.Context(), &gobgp.AddPeerRequest{Peer: &gobgp.Peer{
		Conf:            &gobgp.PeerConf{NeighborAddress: "127.0.0.1", PeerAsn: 65001},
		Transport:       &gobgp.Transport{PassiveMode: true},
		GracefulRestart: &gobgp.GracefulRestart{Enabled: true, RestartTime: 120, NotificationEnabled: true},
		AfiSafis:        []*gobgp.AfiSafi{family},
	}}))
	return listen.String(), why
}
