package bgp

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"gvlan/driver/bgp/peer"
)

// Session is how it stands with one peer.
type Session struct {
	Peer peer.Peer
	// State is idle, active, opensent, openconfirm or established (RFC 4271, 8.2.2);
	// while the session is being tried it is one of the others in turn.
	State     string
	Since     time.Time // it is established, or is not
	Announced int       // routes that the peer was told
	Received  int       // routes that it told, and of them
	Accepted  int       // those that are inside of Import
	Wrong     string    // why it is not established, or not as it should be; ""
}

const established = "established"

// session is what is remembered of one.
type session struct {
	up    bool
	since time.Time   // it is up, or is not
	lost  []time.Time // within the last minute
	why   string      // it was lost last
	said  said        // of it last, while it was not up
	takes int         // routes of the peer inside of Import
}

const (
	// patience is how long a session may be away before people are told: what the next
	// tries mend is no news.
	patience = 30 * time.Second
	// A session that is lost so often within such a time keeps being lost.
	manyLosses  = 3
	lossesCount = time.Minute
)

// peerIs is told by the server what became of a session.
func (s *Speaker) peerIs(ev *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := ev.Peer.State
	one, known := s.peers[is.NeighborAddress]
	if !known {
		return
	}
	if up := is.SessionState == bgp.BGP_FSM_ESTABLISHED; up != one.up {
		now := s.cfg.Now()
		if one.up {
			one.lost, one.why, one.said = append(one.lost, now), is.DisconnectMessage, said{}
		}
		one.up, one.since = up, now
	} else if is.DisconnectReason == api.PeerState_DISCONNECT_REASON_INVALID_MSG {
		one.said = said{refused: true}
	}
}

// says is told what the library says of a connection.
func (s *Speaker) says(about netip.Addr, what said) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.peers[about]
	if !known || one.up || what.closed && one.said.judged() {
		return // a peer that found fault closes what comes for a while
	}
	one.said = what
}

// Sessions are how it stands with every peer, in the order of the settings.
func (s *Speaker) Sessions() []Session { return s.sessions(true) }

// sessions leaves out how many routes were announced unless that is wanted: the
// library counts them each time.
func (s *Speaker) sessions(counted bool) []Session {
	now := map[netip.Addr]*api.Peer{}
	if b := s.running(); b != nil {
		_ = b.ListPeer(context.Background(), &api.ListPeerRequest{EnableAdvertised: counted}, func(p *api.Peer) {
			if addr, err := netip.ParseAddr(p.GetState().GetNeighborAddress()); err == nil {
				now[addr] = p
			}
		}) // it fails while it stops: nothing is established then
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Session
	for _, p := range s.cfg.Peers {
		all = append(all, s.sessionWith(p, now[p.Address.Addr()]))
	}
	return all
}

// sessionWith is one of them; at is what the server has of it, nil where none runs.
func (s *Speaker) sessionWith(p peer.Peer, at *api.Peer) Session {
	one := s.peers[p.Address.Addr()]
	shown := Session{Peer: p, State: "idle", Since: one.since}
	if at == nil {
		shown.Wrong = "nothing is announced yet: this host does not know its routes"
		if s.broken != nil {
			shown.Wrong = s.broken.Error()
		}
		return shown
	}
	shown.State = strings.ToLower(strings.TrimPrefix(at.State.SessionState.String(), "SESSION_STATE_"))
	for _, family := range at.AfiSafis {
		shown.Announced += int(family.GetState().GetAdvertised())
		shown.Received += int(family.GetState().GetReceived())
	}
	if shown.State == established {
		shown.Accepted = one.takes
		shown.Wrong = s.untaken(at)
		return shown
	}
	shown.Wrong = one.wrong(p, s.cfg.AS)
	return shown
}

// untaken says which routes a peer does not take that is there.
func (s *Speaker) untaken(at *api.Peer) string {
	capabilities, err := apiutil.UnmarshalCapabilities(at.State.RemoteCap)
	if err != nil {
		return ""
	}
	takes := map[bgp.Family]bool{}
	for _, c := range capabilities {
		if family, is := c.(*bgp.CapMultiProtocol); is {
			takes[family.CapValue] = true
		}
	}
	for dst := range s.want {
		switch {
		case dst.Addr().Is4() && len(takes) > 0 && !takes[bgp.RF_IPv4_UC]:
			return "it takes no IPv4 routes: activate IPv4 unicast for this host there"
		case dst.Addr().Is6() && !takes[bgp.RF_IPv6_UC]:
			return "it takes no IPv6 routes: activate IPv6 unicast for this host there"
		}
	}
	return ""
}

// The codes of a NOTIFICATION that says a speaker is of another AS than was expected
// (RFC 4271, 6.2).
const (
	openError = 2
	badPeerAS = 2
	outOfTurn = 5 // what this host answers to a refusal in place of an OPEN
)

// wrong says why there is no session with a peer: what came of the last try.
func (one *session) wrong(p peer.Peer, as peer.AS) string {
	switch last := one.said; {
	case last.code == openError && last.detail == badPeerAS:
		return fmt.Sprintf("it is of another AS than %d: correct that in --bgp-peer", p.AS)
	case last.refused || last.code == outOfTurn:
		return fmt.Sprintf("it refuses this host, and its own log says why: most often it expects another AS here than %d (--bgp-as)", as)
	case last.code != 0:
		return "this host refuses it: " + bgp.NewNotificationErrorCode(uint8(last.code), uint8(last.detail)).String()
	case last.failed != "" && p.Password != "":
		return fmt.Sprintf("no connection to its port %d: %s; if the peer answers otherwise, the passwords of the two are not the same", p.Address.Port(), inner(last.failed))
	case last.failed != "":
		return fmt.Sprintf("no connection to its port %d: %s; if the peer answers otherwise, it expects a password of this host", p.Address.Port(), inner(last.failed))
	case last.closed:
		return "it ends the connection at once: this host's address may be none of its neighbors"
	case one.why != "":
		return "the session ended: " + one.why
	}
	return "the peer is being connected to"
}

// inner is what an error of the net package says of the cause, without the ports,
// which differ each time.
func inner(text string) string {
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+len(": "):]
	}
	return text
}

// Failing are sentences about what is wrong with the sessions, for people: one that has
// been away for half a minute, one that keeps being lost, a peer that does not take what
// it is told. A sentence stays the same while what it says does.
func (s *Speaker) Failing() (all []string) {
	if err := s.why(); err != nil {
		return []string{"BGP does not work on this host: " + err.Error() + "; routers do not know where its containers are"}
	}
	if s.running() == nil {
		return nil
	}
	now := s.cfg.Now()
	for _, shown := range s.sessions(false) {
		called := fmt.Sprintf("BGP peer %s of AS %d", shown.Peer.Called(), shown.Peer.AS)
		switch lost, why := s.losses(shown.Peer, now); {
		case lost >= manyLosses:
			all = append(all, fmt.Sprintf("%s: the session keeps being lost, %d times within a minute or more; last: %s", called, manyLosses, cmp.Or(why, shown.Wrong)))
		case shown.State == established && shown.Wrong != "":
			all = append(all, called+": "+shown.Wrong)
		case shown.State != established && now.Sub(shown.Since) >= patience:
			all = append(all, fmt.Sprintf("no session with %s: %s; until there is one, routers behind it do not know where this host's containers are (gvlan bgp)", called, shown.Wrong))
		}
	}
	return all
}

// losses counts how often a session was lost within the last minute, and says why it
// was last.
func (s *Speaker) losses(p peer.Peer, now time.Time) (n int, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.peers[p.Address.Addr()]
	one.lost = slices.DeleteFunc(one.lost, func(at time.Time) bool { return now.Sub(at) > lossesCount })
	return len(one.lost), one.why
}
