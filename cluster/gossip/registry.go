package gossip

import (
	"time"

	"gvlan/cluster/store"
)

// Registry is what etcd says of the cluster, as far as this node has heard.
// It can only be read: that is all a Membership has of the store.
type Registry interface {
	// Known returns the latest. It never blocks and its content is not
	// changed afterwards.
	Known() Known
	// Changed returns a channel that is closed as soon as Known returns
	// something newer than it did at the time of this call.
	Changed() <-chan struct{}
}

// Known is one state of a Registry. The zero value is "nothing yet".
type Known struct {
	Cluster string          // uuid; "" until etcd answered
	Keys    [][]byte        // of the gossip, primary first, 32 bytes each
	Nodes   map[string]Node // by name
	// Fresh is set while etcd answers this node, so that what is missing in
	// Nodes can be believed to be missing.
	Fresh bool
	// Heard is when etcd last answered; zero before it did.
	Heard time.Time
	// Revision is how far this node follows the store, with all of its mirrors;
	// Changed does not tell of it.
	Revision store.Revision
}

// Node is what etcd says of one node.
type Node struct {
	Name        string
	Description store.Node  // zero when the node has no record
	Registered  bool        // it has one
	Live        *store.Live // nil while its agent is not connected
	Gone        time.Time   // since when it is registered without Live, by this host's clock
	Epoch       store.Epoch
}

// Seed is a node and where its membership listens.
type Seed struct {
	Node   string `json:"node"`
	Gossip string `json:"gossip"` // host:port; the host is an address
}

// seeds returns the connected nodes.
func (k Known) seeds() []Seed {
	var seeds []Seed
	for name, node := range k.Nodes {
		if node.Live != nil && node.Live.Gossip != "" {
			seeds = append(seeds, Seed{Node: name, Gossip: node.Live.Gossip})
		}
	}
	return seeds
}
