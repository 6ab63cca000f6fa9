package answer

import (
	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cmd/internal/api"
)

// Roster is which nodes there are: as etcd describes them, and who of them
// answers now.
type Roster struct {
	Self      string // this node
	Directory *cluster.Directory
	Peers     *gossip.Membership // nil with --gossip off
}

// Rows are all nodes from both sides.
func (r Roster) Rows() []cluster.Row {
	var members []gossip.Member
	if r.Peers != nil {
		members = r.Peers.Members()
	}
	return cluster.View(r.Directory.Known(), members)
}

// Names are those of every node.
func (r Roster) Names() []api.NodeName { return namesOf(r.Rows()) }

func namesOf(rows []cluster.Row) []api.NodeName {
	var all []api.NodeName
	for _, row := range rows {
		all = append(all, api.NodeName{Node: row.Node, Host: row.Store.Description.Host, Address: row.Store.Description.Address})
	}
	return all
}

// gossip is what this agent met among its peers; nil without any.
func (r Roster) gossip() *api.GossipStatus {
	if r.Peers == nil {
		return nil
	}
	c := r.Peers.Counters()
	return &api.GossipStatus{
		Answering: r.Peers.Answering(), RefusedKey: c.RefusedKey, RefusedCluster: c.RefusedCluster, RefusedNode: c.RefusedNode,
		UDPBlocked: c.UDPBlocked, Flaps: c.Flaps,
	}
}
