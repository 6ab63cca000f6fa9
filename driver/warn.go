package driver

import (
	"context"
	"fmt"

	"gvlan/driver/journal"
)

// warnings are what a user should know of a new network that is no reason to
// refuse it: each one sentence.
func (d *Driver) warnings(ctx context.Context, n journal.Network) []string {
	return append(overlapping(n, d.state.Networks()), d.parents.Warnings(ctx, n)...)
}

// soloWarning is for a network that is defined where nobody else sees it.
const soloWarning = "this agent is solo: no other host shares its etcd, so the network exists on this host only (start the agent with --etcd-listen and join the others)"

func (d *Driver) isSolo() bool { return d.cfg.Solo != nil && d.cfg.Solo() }

// overlapping names pools of other networks that share addresses with the
// network's own: legal, since an address exists once per segment, and worth
// knowing.
func overlapping(n journal.Network, all []journal.Network) []string {
	var warnings []string
	for _, other := range all {
		if other.ID == n.ID || other.Stage == journal.StageGone || other.Segment != n.Segment || other.Foreign {
			continue
		}
		for _, a := range n.Pools {
			for _, b := range other.Pools {
				if a.Subnet.Overlaps(b.Subnet) {
					warnings = append(warnings, fmt.Sprintf("subnet %s shares addresses with %s of network %s: no address is given twice", a.Subnet, b.Subnet, other.Title()))
				}
			}
		}
	}
	return warnings
}
