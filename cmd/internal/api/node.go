package api

import (
	"cmp"
	"time"

	"gvlan/cluster"
	"gvlan/cluster/store"
)

// Routes of the node commands.
const (
	NodesRoute   = "/v1/nodes"
	DrainRoute   = "/v1/node/drain" // ?name=
	EvictRoute   = "/v1/node/evict" // ?name=
	MembersRoute = "/v1/members"
	RotateRoute  = "/v1/key/rotate"
)

// NodeView is one node, as etcd and the gossip see it together. A host that
// runs both agents is the view of its socket agent, with the other's inside.
type NodeView struct {
	Node       string              `json:"node"`
	Name       string              `json:"name"` // what people call the host
	Host       string              `json:"host"`
	Address    string              `json:"address"`
	State      string              `json:"state"`
	Since      time.Time           `json:"since,omitzero"`
	Version    string              `json:"version"`
	Stopped    bool                `json:"stopped"` // it is down because its agent was stopped
	Drained    bool                `json:"drained"`
	Evicted    bool                `json:"evicted"`
	Epoch      int64               `json:"epoch"`
	Endpoints  *int                `json:"endpoints"` // nil while etcd does not answer this host
	Interfaces []store.Interface   `json:"interfaces,omitempty"`
	Networks   []store.NodeNetwork `json:"networks,omitempty"`
	// StaleParents: the node tells its peers of other interfaces than its
	// record lists.
	StaleParents bool `json:"staleParents,omitempty"`
	// Stale: etcd does not answer this host, so whether the node is connected
	// is what etcd said last.
	Stale bool `json:"stale,omitempty"`
	// Swarm is the managed plugin beside this socket agent.
	Swarm *NodeView `json:"swarm,omitempty"`
}

// Called is what people call the host, by whatever the agent told of it.
func (v NodeView) Called() string { return cmp.Or(v.Name, v.Host, v.Node) }

// Worse is the agent whose state the host's row shows: the swarm's plugin when only
// that one is not ready, else the socket agent.
func (v NodeView) Worse() NodeView {
	if v.Swarm != nil && v.State == string(cluster.Ready) && v.Swarm.State != v.State {
		return *v.Swarm
	}
	return v
}

// MemberView is one node as the gossip of this node alone sees it, beside
// what etcd says.
type MemberView struct {
	Node    string        `json:"node"`
	Name    string        `json:"name"` // its host's, with "(swarm)" for the plugin beside a socket agent; Node where that names several
	Address string        `json:"address"`
	Gossip  string        `json:"gossip"` // alive, left, failed; "" when unknown to it
	Etcd    string        `json:"etcd"`   // connected or away
	Since   time.Time     `json:"since,omitzero"`
	Direct  time.Time     `json:"direct,omitzero"` // last answer to this node's own probe
	RTT     time.Duration `json:"rtt"`
	// ClockAhead is how far its clock was before that of the agent that answers,
	// give or take half of RTT; nil while it has not said.
	ClockAhead *time.Duration `json:"clockAhead,omitempty"`
	// Applied is how far it had followed etcd by its last answer.
	Applied store.Revision `json:"applied"`
	// Parents is the digest of its interfaces that it tells its peers.
	Parents uint64 `json:"parents,string"`
	// Remarks are what else it tells its peers of itself.
	Remarks []string `json:"remarks,omitempty"`
}

// Bounds of how far two clocks may be apart. Certificates, which are good from
// a while before they are made, are refused at some minutes.
const (
	ClocksApart    = 2 * time.Second
	ClocksFarApart = time.Minute
)

// Clocks is how this host's clock stands against those of others.
type Clocks struct {
	Compared int          // others that told theirs
	Off      []MemberView // of those, further apart than ClocksApart
	Own      bool         // most are: it is this host's that is off
}

// CompareClocks compares them.
func CompareClocks(members []MemberView) (c Clocks) {
	for _, m := range members {
		if m.ClockAhead == nil {
			continue
		}
		c.Compared++
		if m.ClockApart() > ClocksApart {
			c.Off = append(c.Off, m)
		}
	}
	c.Own = len(c.Off)*2 > c.Compared && c.Compared > 1
	return c
}

// ClockApart is how far a clock is off at least: half of the round trip is the error
// of the comparison.
func (m MemberView) ClockApart() time.Duration { return m.ClockAhead.Abs() - m.RTT/2 }

// Aside says how far a clock is off.
func Aside(ahead time.Duration) string {
	if ahead < 0 {
		return (-ahead).Round(time.Second).String() + " behind"
	}
	return ahead.Round(time.Second).String() + " ahead"
}
