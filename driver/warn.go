package driver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"gvlan/driver/link"
	"gvlan/parentfile"
)

// warnings are what a user should know of a new network that is no reason to
// refuse it: each one sentence.
func (d *Driver) warnings(ctx context.Context, n hostNetwork) []string {
	all := overlapping(n, d.state.allNetworks())
	if n.isolated() {
		return all
	}
	have, err := d.parents.inventory(ctx)
	if err != nil {
		return all
	}
	choice, _, err := d.parents.chooseFrom(have, n)
	if err != nil {
		return append(all, fmt.Sprintf("no container can start on it here now: %s", err))
	}
	all = append(all, subnetWarnings(n, choice)...)
	return append(all, d.sharingWarnings(n, parentName(choice), have)...)
}

// soloWarning is for a network that is defined where nobody else sees it.
const soloWarning = "this agent is solo: no other host shares its etcd, so the network exists on this host only (start the agent with --etcd-listen and join the others)"

func (d *Driver) isSolo() bool { return d.cfg.Solo != nil && d.cfg.Solo() }

// overlapping names pools of other networks that share addresses with the
// network's own: legal, since an address exists once per segment, and worth
// knowing.
func overlapping(n hostNetwork, all []hostNetwork) []string {
	var warnings []string
	for _, other := range all {
		if other.ID == n.ID || other.Stage == StageGone || other.Segment != n.Segment || other.Foreign {
			continue
		}
		for _, a := range n.Pools {
			for _, b := range other.Pools {
				if a.Subnet.Overlaps(b.Subnet) {
					warnings = append(warnings, fmt.Sprintf("subnet %s shares addresses with %s of network %s: no address is given twice", a.Subnet, b.Subnet, other.title()))
				}
			}
		}
	}
	return warnings
}

// subnetWarnings compares the network's subnets with the parent's addresses:
// a switched network belongs on its parent's subnet, a routed one beside it.
func subnetWarnings(n hostNetwork, choice parentfile.Choice) []string {
	if len(choice.Interface.Addresses) == 0 || len(choice.VLANs) > 0 {
		return nil
	}
	var warnings []string
	for _, pool := range n.Pools {
		on := slices.ContainsFunc(choice.Interface.Addresses, func(p netip.Prefix) bool {
			return p.Masked().Overlaps(pool.Subnet)
		})
		sameFamily := slices.ContainsFunc(choice.Interface.Addresses, func(p netip.Prefix) bool {
			return p.Addr().Is4() == pool.Subnet.Addr().Is4() && !p.Addr().IsLinkLocalUnicast()
		})
		switch {
		case n.Options.Layer3() && on:
			warnings = append(warnings, fmt.Sprintf("subnet %s is the parent's own: an %s network needs another, which the LAN routes to this host", pool.Subnet, n.Options.Mode))
		case !n.Options.Layer3() && !on && sameFamily:
			warnings = append(warnings, fmt.Sprintf("subnet %s is not one of parent %s's: containers reach the LAN only where a router has an address in it", pool.Subnet, choice.Interface.Name))
		}
	}
	return warnings
}

// sharingWarnings names networks on the same parent whose containers could
// not run beside this one's.
func (d *Driver) sharingWarnings(n hostNetwork, parent string, have []parentfile.Interface) []string {
	var warnings []string
	for _, other := range d.state.allNetworks() {
		why := clash(n.Options, other.Options, false)
		if why == "" || other.ID == n.ID || other.Stage == StageGone || other.isolated() {
			continue
		}
		if choice, _, err := d.parents.chooseFrom(have, other); err == nil && parentName(choice) == parent {
			warnings = append(warnings, fmt.Sprintf("its containers (%s) and those of network %s (%s) cannot run on %s at the same time: %s",
				n.Options.links(), other.title(), other.Options.links(), parent, why))
		}
	}
	return warnings
}

// supported refuses a network whose links this host's kernel cannot make,
// naming the module.
func (p *parents) supported(ctx context.Context, n hostNetwork) error {
	if err := p.links.Supports(ctx, n.Options.Kind); err != nil {
		return fmt.Errorf("make network %s on node %s: %w", n.title(), p.node, err)
	}
	if !n.isolated() {
		return nil
	}
	if err := p.links.Supports(ctx, link.Dummy); err != nil {
		return fmt.Errorf("make network %s on node %s, which has no parent: %w", n.title(), p.node, err)
	}
	return nil
}
