package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// DefaultPort is the membership's UDP and TCP port. memberlist's own default,
// 7946, is taken on every Docker swarm host.
const DefaultPort = 7947

// Config is what a Membership needs. The zero value of an optional field is
// its default.
type Config struct {
	// Node is this node's name in the store.
	Node string

	// Registry is what etcd says: cluster, keys, nodes.
	Registry Registry

	// Address is bound and advertised; package cluster's Advertise chooses it.
	// It is never unspecified: on a host full of macvlan and bridge addresses
	// memberlist's own choice is a lottery.
	Address netip.Addr

	// Port is bound and advertised, for UDP and TCP. 0 is DefaultPort.
	Port uint16

	// Join lists peers to try first, as host or host:port. None are needed
	// where etcd is: the registry names them.
	Join []string

	// Cache is a file that remembers cluster, keys and peers for a boot while
	// etcd is down. It holds keys, so it is written with mode 0600. "": none.
	Cache string

	// MTU of the smallest link gossip crosses. Packets hold at most
	// min(1400, MTU-100) bytes; 0 is 1500.
	MTU int

	// Meta is the first metadata; SetMeta changes it.
	Meta Meta

	// Transport carries packets and streams; nil: UDP and TCP on Address.
	Transport memberlist.Transport

	// Rand chooses whom to join; nil: seeded by the runtime.
	Rand *rand.Rand

	// Log hears of members coming and going, and memberlist's own lines;
	// nil: nothing is logged.
	Log *slog.Logger
}

// The timing of the protocol. N is the number of members.
const (
	// probeInterval: each node probes one other in each interval, so every
	// pair is probed once in N of them.
	probeInterval = time.Second
	// probeTimeout is how long a direct answer may take, before three other
	// nodes and TCP are asked to try.
	probeTimeout = 500 * time.Millisecond
	// suspicionMult: a silent node is declared failed after
	// suspicionMult * max(1, log10 N) * probeInterval, up to six times that
	// until suspicionMult-2 others confirm. 6 instead of memberlist's 4 costs
	// 3 s at 50 nodes and removes the flaps of hosts that stall for 4 s.
	suspicionMult = 6
	// gossipInterval: news goes to three random nodes in each.
	gossipInterval = 200 * time.Millisecond
	// retransmitMult: each node passes a piece of news on
	// retransmitMult * ceil(log10(N+1)) times.
	retransmitMult = 4
	// pushPullInterval: each node compares its whole list with one other,
	// less often above 32 nodes: times ceil(log2 N - 5) + 1.
	pushPullInterval = 30 * time.Second
	// reclaimAfter: a failed node's name may come back from another address
	// after this long. memberlist's default, never, locks out a host that
	// was given a new address.
	reclaimAfter = 10 * time.Second
	// remindDead: for this long a failed node is still told that it is
	// considered dead, so that it can object.
	remindDead = 60 * time.Second
	// handoffDepth is how many received messages may wait to be handled.
	handoffDepth = 4096
	// packetLimit is the most bytes in one packet; packetMargin is left for
	// IP, UDP, VXLAN or WireGuard headers below the MTU.
	packetLimit  = 1400
	packetMargin = 100
)

// check completes a Config or says what is wrong with it.
func (c Config) check() (Config, error) {
	switch {
	case c.Node == "":
		return c, errors.New("start membership: Node is empty")
	case c.Registry == nil:
		return c, errors.New("start membership: Registry is nil")
	case !c.Address.IsValid() || c.Address.IsUnspecified():
		return c, fmt.Errorf("start membership: %q is no address to advertise: other nodes must be able to reach it", c.Address)
	case c.MTU != 0 && c.MTU < 576:
		return c, fmt.Errorf("start membership: MTU %d is below 576, the least IPv4 carries", c.MTU)
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.MTU == 0 {
		c.MTU = packetLimit + packetMargin
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// memberlist makes the library's configuration, without hooks.
func (c Config) memberlist(cluster string, ring *memberlist.Keyring) *memberlist.Config {
	ml := memberlist.DefaultLANConfig()
	ml.Name = c.Node
	ml.Label = cluster
	ml.Keyring = ring
	ml.Transport = c.Transport
	ml.BindAddr = c.Address.String()
	ml.BindPort = int(c.Port)
	ml.AdvertiseAddr = c.Address.String()
	ml.AdvertisePort = int(c.Port)
	ml.ProbeInterval = probeInterval
	ml.ProbeTimeout = probeTimeout
	ml.SuspicionMult = suspicionMult
	ml.GossipInterval = gossipInterval
	ml.RetransmitMult = retransmitMult
	ml.PushPullInterval = pushPullInterval
	ml.DeadNodeReclaimTime = reclaimAfter
	ml.GossipToTheDeadTime = remindDead
	ml.HandoffQueueDepth = handoffDepth
	ml.UDPBufferSize = min(packetLimit, c.MTU-packetMargin)
	ml.RequireNodeNames = true
	// Messages are tens of bytes: compression would only lengthen them.
	ml.EnableCompression = false
	return ml
}
