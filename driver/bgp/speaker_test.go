//go:build !race

package bgp

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"gvlan/driver/bgp/peer"
	"gvlan/driver/route"
)

var (
	web   = to("10.65.0.7/32", "192.168.1.10")
	block = to("10.65.0.64/26", "192.168.1.10")
	six   = to("fd65::7/128", "fd00::10")
)

// TestAnnounce: a router has what was announced last, both families over one session,
// by way of the next hop that was said; and does not have it from another router.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	r, other := newRouter(t, 65000, hostAS, ""), newRouter(t, 65002, hostAS, "")
	h := newHost(t, nil, r.peer(), other.peer())
	other.tells("10.99.0.0/24", "192.168.1.99")
	if got := h.Sessions()[0]; got.State != "idle" || got.Wrong == "" {
		t.Errorf("before there is anything to announce the session is %+v", got)
	}
	h.Announce([]route.Route{web, block, six, to("10.65.0.7/32", "192.168.1.99"), {Dst: netip.MustParsePrefix("10.1.0.0/16")}})
	eventually(t, "the router has what is announced", r.fresh(web, block, six))
	eventually(t, "the other has it too", func() bool {
		got := h.Sessions()[1]
		return other.fresh(web, block, six)() && got.Announced == 3 && got.Received == 1 && got.Accepted == 0 && got.State == established && got.Wrong == ""
	})
	moved := to("10.65.0.64/26", "192.168.1.11")
	h.Announce([]route.Route{moved, six})
	eventually(t, "the router has what is announced now", r.fresh(moved, six))
	h.Announce(nil)
	eventually(t, "the router has nothing", r.fresh())
	if all := h.Learned(); all != nil || len(h.changed) > 0 {
		t.Errorf("learned %v of nobody's prefixes", all)
	}
}

// TestRestart: peers keep the routes of an agent that ends without a word, and drop at
// once what its successor does not announce; also with a peer that does not answer.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := newRouter(t, 65000, hostAS, "")
	silent := peer.Peer{Address: netip.MustParseAddrPort("127.255.0.1:1790"), AS: 65003}
	h := newHost(t, nil, r.peer(), silent)
	h.Announce([]route.Route{web, block, six})
	eventually(t, "the router has the routes", r.fresh(web, block, six))
	h.end()
	kept := func(when string) {
		t.Helper()
		if all, stale := r.has(); !slices.Equal(all, []route.Route{web, block, six}) || stale != 3 {
			t.Fatalf("%s the router has %v, %d stale", when, all, stale)
		}
	}
	eventually(t, "the router knows that the session is gone", func() bool { _, stale := r.has(); return stale == 3 })
	kept("after the end")
	h = newHost(t, nil, r.peer(), silent)
	kept("before the successor knows its routes")
	lost := make(chan []route.Route, 1)
	watched, stop := make(chan struct{}), make(chan struct{})
	go func() { // a route that stays is never missing
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if all, _ := r.has(); !slices.Contains(all, web) || !slices.Contains(all, six) {
				select {
				case lost <- all:
				default:
				}
			}
		}
	}()
	h.Announce([]route.Route{web, six})
	eventually(t, "the router has the successor's routes", r.fresh(web, six))
	close(stop)
	<-watched
	select {
	case all := <-lost:
		t.Errorf("while the successor came the router had %v", all)
	default:
	}
}

// TestRestarting: a host says that it restarted and that forwarding went on, for both
// families, and for how long what it told is to be kept: a peer that minds, as routers do,
// drops it otherwise.
func TestRestarting(t *testing.T) {
	t.Parallel()
	r := newRouter(t, 65000, hostAS, "")
	h := newHost(t, nil, r.peer())
	h.Announce(nil)
	eventually(t, "the session is there", h.up)
	var got *bgp.CapGracefulRestart
	for _, c := range r.heard() {
		if is, ok := c.(*bgp.CapGracefulRestart); ok {
			got = is
		}
	}
	const restarted, notified, preserved = 0x8, 0x4, 0x80 // RFC 4724, RFC 8538
	if got == nil || got.Flags != restarted|notified || got.Time != restartTime || len(got.Tuples) != 2 || got.Tuples[0].Flags != preserved || got.Tuples[1].Flags != preserved {
		t.Errorf("it says %+v", got)
	}
}

// TestLeave: of a host that stops for good nothing is kept.
func TestLeave(t *testing.T) {
	t.Parallel()
	r := newRouter(t, 65000, hostAS, "")
	ends := r.endings()
	h := newHost(t, nil, r.peer())
	if err := newHost(t, nil, r.peer()).Leave(t.Context()); err != nil {
		t.Errorf("who never spoke leaves: %v", err)
	}
	h.Announce([]route.Route{web, six})
	eventually(t, "the router has the routes", r.fresh(web, six))
	if err := h.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the router dropped them", func() bool { all, _ := r.has(); return all == nil })
	if why := <-ends; why != api.PeerState_DISCONNECT_REASON_HARD_RESET {
		t.Errorf("the session ended by %s: a peer might keep what it was not told to drop", why)
	}
	h.Announce([]route.Route{web})
	if got := h.Sessions()[0]; got.State == established {
		t.Errorf("after it left: %+v", got)
	}
}

// TestImport: what routers tell is learned inside of the prefixes that were named, and
// passed on to nobody.
func TestImport(t *testing.T) {
	t.Parallel()
	r, other := newRouter(t, 65000, hostAS, ""), newRouter(t, 65002, hostAS, "")
	h := newHost(t, func(c *Config) {
		c.Import = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	}, r.peer(), other.peer())
	r.tells("10.1.0.0/24", "192.168.1.1")
	r.tells("172.16.0.0/16", "192.168.1.1")
	r.tells("0.0.0.0/0", "192.168.1.1")
	r.tells("fd01::/64", "fd00::1")
	r.tells("2001:db8::/32", "fd00::1")
	h.Announce([]route.Route{to("10.65.0.7/32", "192.168.1.10")})
	want := []route.Route{to("10.1.0.0/24", "192.168.1.1"), to("fd01::/64", "fd00::1")}
	eventually(t, "the routes are learned", func() bool { return slices.Equal(h.Learned(), want) })
	<-h.changed
	eventually(t, "the session counts them", func() bool { got := h.Sessions()[0]; return got.Received == 5 && got.Accepted == 2 })
	eventually(t, "the other router has this host's own route only", other.fresh(web))
	gone, err := path(want[0].Dst, want[0].Via)
	r.must(err)
	r.must(r.server.DeletePath(deletion(gone)))
	eventually(t, "what the router takes back is forgotten", func() bool { return slices.Equal(h.Learned(), want[1:]) })
}

// TestWrongAS: either end may take the other for of another AS.
func TestWrongAS(t *testing.T) {
	t.Parallel()
	mistaken, refusing := newRouter(t, 65000, hostAS, ""), newRouter(t, 65002, 65009, "")
	taken := mistaken.peer()
	taken.AS = 65001
	h := newHost(t, nil, taken, refusing.peer())
	h.Announce([]route.Route{web})
	for i, want := range []string{"it is of another AS than 65001: correct that in --bgp-peer", "most often it expects another AS here than 4200000001 (--bgp-as)"} {
		eventually(t, want, func() bool { return strings.Contains(h.Sessions()[i].Wrong, want) })
	}
	if all := h.Failing(); all != nil {
		t.Errorf("told before it lasted: %q", all)
	}
	h.clock.Add(patience)
	eventually(t, "both are told", func() bool {
		all := h.Failing()
		return len(all) == 2 && strings.HasPrefix(all[0], "no session with BGP peer "+mistaken.peer().Called()+" of AS 65001: it is of another AS")
	})
}

// TestWhy: what the last try came to, in words; a peer that found fault closes later
// connections at once, which says less.
func TestWhy(t *testing.T) {
	t.Parallel()
	p := peer.Peer{Address: netip.MustParseAddrPort("192.168.1.1:179"), AS: 65000}
	h := newHost(t, nil, p)
	for _, test := range []struct {
		said said
		want string
	}{
		{said{closed: true}, "it ends the connection at once"},
		{said{code: openError, detail: badPeerAS}, "it is of another AS than 65000"},
		{said{closed: true}, "it is of another AS than 65000"},
		{said{failed: "dial tcp 192.168.1.1:179: connect: no route to host"}, "no connection to its port 179: no route to host; if"},
		{said{code: outOfTurn, detail: 1}, "it refuses this host"},
		{said{closed: true}, "it refuses this host"},
		{said{code: openError, detail: 3}, "this host refuses it: code 2"},
		{said{failed: "malformed"}, "no connection to its port 179: malformed; if"},
	} {
		h.says(p.Address.Addr(), test.said)
		if got := h.peers[p.Address.Addr()].wrong(p, hostAS); !strings.HasPrefix(got, test.want) {
			t.Errorf("after %+v: %q, want %q", test.said, got, test.want)
		}
	}
}

// TestNobodyThere: who does not answer is told of by what the kernel says.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil, peer.Peer{Address: netip.MustParseAddrPort("127.255.0.1:1790"), AS: 65003})
	h.Announce([]route.Route{web})
	eventually(t, "it is told", func() bool {
		return strings.HasPrefix(h.Sessions()[0].Wrong, "no connection to its port 1790: connection refused; if")
	})
}

// TestPassword: with the same password there is a session, with another one no
// connection.
func TestPassword(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a listener that wants passwords is made as root") //nolint:forbidigo // not root
	}
	t.Parallel()
	r, other := newRouter(t, 65000, hostAS, "sesame"), newRouter(t, 65002, hostAS, "sesame")
	right, wrong := r.peer(), other.peer()
	right.Password, wrong.Password = "sesame", "mustard"
	h := newHost(t, nil, right, wrong)
	h.Announce([]route.Route{web})
	eventually(t, "the session of the password is there", r.fresh(web))
	eventually(t, "the other's is told of", func() bool {
		return strings.Contains(h.Sessions()[1].Wrong, "the passwords of the two are not the same")
	})
	if all, _ := other.has(); all != nil || h.Sessions()[0].Wrong != "" {
		t.Errorf("the router with another password has %v, the one with the same is %+v", all, h.Sessions()[0])
	}
}

// TestFlapping: a session that comes back each time, and is lost again, is told of until
// it has held for a minute.
func TestFlapping(t *testing.T) {
	t.Parallel()
	r := newRouter(t, 65000, hostAS, "")
	h := newHost(t, nil, r.peer())
	h.Announce([]route.Route{web})
	for range manyLosses {
		eventually(t, "the session is there", h.up)
		if all := h.Failing(); all != nil {
			t.Errorf("told before it was lost %d times: %q", manyLosses, all)
		}
		r.resets()
		eventually(t, "it is lost", func() bool { return !h.up() })
	}
	eventually(t, "the session is there again", h.up)
	all := h.Failing()
	if len(all) != 1 || !strings.Contains(all[0], "keeps being lost, 3 times within a minute or more; last: ") {
		t.Errorf("told %q", all)
	}
	h.clock.Add(lossesCount + 1)
	if all := h.Failing(); all != nil {
		t.Errorf("told after it held: %q", all)
	}
}
