package driver

import "gvlan/driver/plan"

// lookAtClashes remembers, and logs once, which hosts made a different network
// under a name that was defined on this one first. The host that lost says so
// itself; whoever won would not hear of it otherwise.
func (d *Driver) lookAtClashes(v plan.View) {
	nodes, _ := d.tables.nodes.Rows()
	for _, clash := range d.clashes.Replace(plan.Clashes(v, nodes)) {
		d.log.Warn(clash)
	}
}
