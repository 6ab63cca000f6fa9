package driver

import (
	"fmt"
	"slices"

	"gvlan/cluster/store"
)

// lookAtClashes remembers, and logs once, which hosts made a different network
// under a name that was defined on this one first. The host that lost says so
// itself; whoever won would not hear of it otherwise (decision 21).
func (d *Driver) lookAtClashes(v view) {
	nodes, _ := d.tables.nodes.all()
	for _, clash := range d.clashes.replace(clashes(v, nodes)) {
		d.log.Warn(clash)
	}
}

// clashes are the networks of other nodes that lost their name to a definition
// of this one.
func clashes(v view, nodes map[string]row[store.Node]) (found []string) {
	for _, node := range nodes {
		for _, n := range node.Record.Networks {
			def, defined := v.definitions[n.Name]
			if node.Record.Node == v.node || !defined || def.Record.Origin != v.node || def.Record.UUID == n.UUID {
				continue
			}
			if stage := Stage(n.State); stage == StageConflict || stage == StageSeen && n.Why != "" {
				found = append(found, fmt.Sprintf("node %s made a different network %s, which was defined on this node first: %s", v.hosts.of(node.Record.Node), n.Name, n.Why))
			}
		}
	}
	slices.Sort(found)
	return found
}
