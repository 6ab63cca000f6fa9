package driver

import (
	"cmp"

	"gvlan/driver/plan"
)

// hosts are the names of all hosts that described themselves.
func (d *Driver) hosts() plan.Hosts {
	nodes, _ := d.tables.nodes.Rows()
	all := plan.Hosts{}
	for _, n := range nodes {
		all[n.Record.Node] = n.Record.Host
	}
	return all
}

// host is what messages call this node.
func (c Config) host() string { return cmp.Or(c.Node.Host, c.Self.Node()) }
