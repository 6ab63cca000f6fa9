package driver

import "cmp"

// hosts are host names by node. Messages call nodes so: a node's id is
// usually its machine id, which nobody knows.
type hosts map[string]string

// hosts are the names of all hosts that described themselves.
func (d *Driver) hosts() hosts {
	nodes, _ := d.tables.nodes.all()
	all := hosts{}
	for _, n := range nodes {
		all[n.Record.Node] = n.Record.Host
	}
	return all
}

// of is the host name of a node, or its id.
func (h hosts) of(node string) string { return cmp.Or(h[node], node) }

// host is what messages call this node.
func (c Config) host() string { return cmp.Or(c.Node.Host, c.Self.Node()) }
