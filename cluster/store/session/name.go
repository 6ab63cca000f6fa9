package session

import (
	"errors"
	"fmt"
	"time"

	"gvlan/cluster/store"
)

// Who may have a node's name. A name has one install at a time, and what the
// store keeps under it is that install's: its containers may run on however
// long its agent is away.
//   - The same install on the same boot takes over at once: its agent died or is
//     about to.
//   - The same install on another boot waits for /live to end: this host has
//     booted since, or one of two is a copy of the other.
//   - Another install waits likewise, and then has the name without its past: it
//     writes nothing until Settle, and the elder takes the name back at once.

// heldPatience is how long an opening waits for /live to end, from when the
// store last failed to answer. Its lease ends liveTTL after its agent, and so
// long after each start of an etcd that renews what it loads; the rest is for
// etcd's own clocks.
const heldPatience = (liveTTL + 10) * time.Second

// checkHolder refuses a name that another install, or another boot of this
// one, is connected under.
func (s *Session) checkHolder(view openingView) error {
	if view.liveIt.Created == 0 {
		return nil
	}
	live, err := store.Decode[store.Live](view.liveIt)
	if err != nil {
		return err
	}
	same := live.Install == s.id.Install
	if same && view.epoch.Boot == s.id.Boot || view.epoch.Elder == s.id.Install {
		return nil
	}
	return &store.HeldError{Node: s.id.Node, Install: live.Install, Host: live.Host, Address: live.Address, Clone: same}
}

// awaits reports whether the name may still become free by itself. Until then
// Trusted says who holds it.
func (s *Session) awaits(held *store.HeldError) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == nil {
		s.holder, s.heldSince = held, time.Now()
		s.log.Warn("this node's name is in use: waiting for its holder to end", "at most", heldPatience, "err", held)
	}
	return time.Since(s.heldSince) < heldPatience
}

// awaitAnew forgets how long the name's holder was waited for.
func (s *Session) awaitAnew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holder = nil
}

// elderLocked is the install that the name is taken from, or "" when that is
// this one or nobody's.
func (s *Session) elderLocked(before store.Epoch) string {
	switch {
	case s.settled:
		return ""
	case before.Elder == s.id.Install:
		return ""
	case before.Elder != "":
		return before.Elder
	case before.Install == s.id.Install:
		return ""
	}
	return before.Install
}

func (s *Session) foreignLocked(before store.Epoch) {
	s.suspect = fmt.Errorf("%w (install %s, boot %s): its leases and endpoints are left alone until this host is known to be that node; run `gvlan recover` here if it is, else give it a --node-name of its own",
		store.ErrForeign, s.elderLocked(before), before.Boot)
	s.log.Error("this node's name was another install's until now: nothing is written under it", "err", s.suspect)
}

// foreign is ErrForeign while the name is not settled, or nil.
func (s *Session) foreign() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.suspect, store.ErrForeign) {
		return s.suspect
	}
	return nil
}

// rivalCure is what to do about another host that took the name, or "" where
// it was this one's next agent.
func (s *Session) rivalCure(by store.Epoch) string {
	if by.Install == s.id.Install && by.Boot == s.id.Boot {
		return ""
	}
	return ", on another host: give one of the two a name of its own with --node-name"
}

// Settle says that this install is the node of its name, with all the store
// keeps under it: its engine has that node's endpoints, nothing is left of
// them, or an operator said so. The session then opens anew. It returns
// ErrUnavailable when the session is not open, and an error when there is
// nothing to settle.
func (s *Session) Settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !errors.Is(s.suspect, store.ErrForeign):
		return fmt.Errorf("settle node name %s: it is this install's already", s.id.Node)
	case s.held == nil:
		return fmt.Errorf("settle node name %s: %w: the session is not open", s.id.Node, store.ErrUnavailable)
	}
	s.settled, s.suspect, s.held = true, nil, nil
	select {
	case s.lost <- struct{}{}:
	default:
	}
	return nil
}
