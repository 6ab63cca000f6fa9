package gossip

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// hooks is what memberlist calls. It calls most of them under its own lock,
// so none may block or ask memberlist anything: they write into the
// membership's own table, feeds and queues and return.
type hooks struct{ m *Membership }

var (
	_ memberlist.Delegate         = hooks{}
	_ memberlist.EventDelegate    = hooks{}
	_ memberlist.AliveDelegate    = hooks{}
	_ memberlist.ConflictDelegate = hooks{}
	_ memberlist.PingDelegate     = hooks{}
)

// NodeMeta returns the metadata to advertise; memberlist's limit is 512
// bytes, far above its fixed length.
func (h hooks) NodeMeta(int) []byte { return h.m.meta().encode() }

// NotifyMsg ignores what earlier agents send beside the membership: that a record
// in etcd changed. Its watch tells that sooner.
func (h hooks) NotifyMsg([]byte) {}

// GetBroadcasts has nothing to add to memberlist's own messages.
func (h hooks) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState is empty: there is no state but etcd's.
func (h hooks) LocalState(bool) []byte { return nil }

// MergeRemoteState ignores state that a stranger may send.
func (h hooks) MergeRemoteState([]byte, bool) {}

// NotifyJoin notes a node that answers.
func (h hooks) NotifyJoin(n *memberlist.Node) { h.NotifyUpdate(n) }

// NotifyUpdate notes a node's new metadata. Metadata that cannot be read is
// that of an older or broken agent: the node answers all the same.
func (h hooks) NotifyUpdate(n *memberlist.Node) {
	meta, _ := decodeMeta(n.Meta)
	h.m.report(h.m.table.saw(n.Name, addrPort(n), meta))
}

// NotifyLeave notes a node that answers no more, on purpose or not.
func (h hooks) NotifyLeave(n *memberlist.Node) { h.m.report(h.m.table.lost(n.Name)) }

// NotifyAlive refuses a node that etcd does not know: one that was evicted,
// or that was never there. It is given some time to appear, since gossip is
// faster than a watch, and is believed while etcd does not answer.
func (h hooks) NotifyAlive(n *memberlist.Node) error {
	if n.Name == h.m.config.Node || h.m.strangers.welcome(n.Name, h.m.config.Registry.Known()) {
		return nil
	}
	h.m.counts.add(func(c *Counters) { c.RefusedNode++ })
	return fmt.Errorf("etcd has no node %s", n.Name)
}

// NotifyConflict counts two addresses under one name. Who holds a name is
// settled in etcd when an agent starts, so this is only an alarm.
func (h hooks) NotifyConflict(*memberlist.Node, *memberlist.Node) {
	h.m.counts.add(func(c *Counters) { c.Conflicts++ })
}

// AckPayload rides back with the answer to a probe.
func (h hooks) AckPayload() []byte { return h.m.ack().encode() }

// NotifyPingComplete notes a direct answer.
func (h hooks) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, payload []byte) {
	ack, _ := decodeAck(payload)
	h.m.table.answered(n.Name, rtt, ack)
}

// addrPort is the address of a node; a v4 one arrives in 4 or 16 bytes.
func addrPort(n *memberlist.Node) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(addr.Unmap(), n.Port)
}

// strangerGrace is how long a node may gossip before etcd must know it.
const strangerGrace = 30 * time.Second

// strangerLimit bounds the memory for names nobody knows.
const strangerLimit = 4096

// strangers remembers since when nodes gossip that etcd does not know.
type strangers struct {
	now func() time.Time

	mu    sync.Mutex
	since map[string]time.Time
}

func newStrangers(now func() time.Time) *strangers {
	return &strangers{now: now, since: map[string]time.Time{}}
}

// welcome reports whether a node is to be believed.
func (s *strangers) welcome(node string, known Known) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !known.Fresh || known.Nodes[node].Registered {
		delete(s.since, node)
		return true
	}
	first, ok := s.since[node]
	if !ok {
		if len(s.since) >= strangerLimit {
			return false
		}
		first = s.now()
		s.since[node] = first
	}
	return s.now().Sub(first) < strangerGrace
}
