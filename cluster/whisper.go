package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
)

const (
	// targetLimit: a hint for more nodes than this is gossiped instead.
	targetLimit = 64
	// toldLimit is how many hints of this node may wait to be sent.
	toldLimit = 256
	// heardLimit is how many subjects may wait for the reader of Hints.
	heardLimit = 1024
	// relayLimit is how many hints wait for room in packets; the oldest go.
	relayLimit = 1024
)

// Heard is a hint of another node.
type Heard struct {
	From string // node
	Hint Hint
}

// told is a hint of this node on its way out.
type told struct {
	hint Hint
	to   []string // nodes; none: everybody, by gossip
}

// whisper sends, receives and passes on hints.
type whisper struct {
	self   senderID
	counts *counters
	fresh  *freshness
	told   chan told
	heard  *feed[subject, Heard]
	relay  *memberlist.TransmitLimitedQueue
}

func newWhisper(self string, counts *counters, members func() int) *whisper {
	return &whisper{
		self:   senderOf(self),
		counts: counts,
		fresh:  newFreshness(freshLimit),
		told:   make(chan told, toldLimit),
		heard:  newFeed[subject, Heard](heardLimit),
		relay:  &memberlist.TransmitLimitedQueue{NumNodes: members, RetransmitMult: retransmitMult},
	}
}

// tell queues a hint; a full queue loses it.
func (w *whisper) tell(h Hint, to []string) {
	select {
	case w.told <- told{hint: h, to: to}:
		w.counts.add(func(c *Counters) { c.HintsTold++ })
	default:
		w.counts.add(func(c *Counters) { c.HintsLost++ })
	}
}

// send carries queued hints out until ctx ends: to the named nodes directly,
// else into the gossip.
func (w *whisper) send(ctx context.Context, direct func(node string, raw []byte) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-w.told:
			w.sendOne(t, direct)
		}
	}
}

func (w *whisper) sendOne(t told, direct func(node string, raw []byte) error) {
	// What this node tells is no news to it when it echoes.
	w.fresh.news(t.hint)
	if len(t.to) == 0 || len(t.to) > targetLimit {
		w.gossip(frame{from: w.self, relay: true, hint: t.hint})
		return
	}
	raw := frame{from: w.self, hint: t.hint}.encode()
	for _, node := range t.to {
		if err := direct(node, raw); err != nil {
			w.counts.add(func(c *Counters) { c.HintsLost++ })
		}
	}
}

// gossip queues a hint for the packets that go out anyway. memberlist does
// not relay user messages, and the originator alone reaches a few nodes only.
func (w *whisper) gossip(f frame) {
	w.relay.QueueBroadcast(broadcast{about: f.hint.about(), raw: f.encode()})
	w.relay.Prune(relayLimit)
}

// receive takes a hint from the wire; sender names a node that may speak.
func (w *whisper) receive(raw []byte, sender func(senderID) (string, bool)) {
	f, err := decodeFrame(raw)
	if err != nil {
		w.counts.add(func(c *Counters) { c.HintsIgnored++ })
		return
	}
	from, ok := sender(f.from)
	if !ok {
		w.counts.add(func(c *Counters) { c.HintsIgnored++ })
		return
	}
	if !w.fresh.news(f.hint) {
		w.counts.add(func(c *Counters) { c.HintsStale++ })
		return
	}
	w.counts.add(func(c *Counters) { c.HintsHeard++ })
	w.heard.put(f.hint.about(), Heard{From: from, Hint: f.hint})
	if f.relay {
		w.counts.add(func(c *Counters) { c.HintsRelayed++ })
		w.gossip(f)
	}
}

// broadcast is a hint in memberlist's queue. A newer one about the same
// subject takes its place.
type broadcast struct {
	about subject
	raw   []byte
}

var _ memberlist.NamedBroadcast = broadcast{}

// Invalidates tells whether b takes the place of other.
func (b broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(broadcast)
	return ok && o.about == b.about
}

// Name is the subject; memberlist finds what to replace by it.
func (b broadcast) Name() string {
	return fmt.Sprintf("%d/%s", b.about.kind, hex.EncodeToString(b.about.id[:]))
}

// Message is the hint on the wire.
func (b broadcast) Message() []byte { return b.raw }

// Finished has nothing to do: nobody waits for a hint.
func (b broadcast) Finished() {}

// errNotMember: a hint's target is not in the gossip.
var errNotMember = errors.New("node is not a member")
