package parent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/parentfile"
)

// ErrTaken is wrapped when a network cannot start a container on a
// parent because of what already runs there.
var ErrTaken = errors.New("parent is taken")

// Judge reports whether a network may start a container on a parent beside what
// this host's other networks run there. It is judged at container start, on
// each host, since only what runs matters: macvlan and ipvlan exclude each
// other, passthru shares with nobody, and ipvlan's mode and flag belong to
// the parent, so that another would silently change the running containers.
func (p *Parents) Judge(n journal.Network, parent, self string) error {
	for _, e := range p.cfg.State.Endpoints() {
		if e.ID == self || e.Parent != parent || e.Link == "" {
			continue
		}
		other, known := n, true
		if e.Network != n.ID {
			other, known = p.cfg.State.Network(e.Network)
		}
		if !known {
			continue
		}
		if why := link.Beside(n.Options.Spec(), other.Options.Spec()); why != "" {
			return fmt.Errorf("%w: network %s (%s) cannot start a container on %s of node %s while network %s (%s) has one there: %s",
				ErrTaken, n.Title(), n.Options.Links(), parent, p.cfg.Node, other.Title(), other.Options.Links(), why)
		}
	}
	return nil
}

// JudgeElsewhere reports whether an ipvlan network may start a container beside
// links that are not ours and run in other namespaces, such as those of
// Docker's own ipvlan driver. The kernel, which refuses everything else that
// cannot stand beside them, gives them the new link's mode without a word.
func (p *Parents) JudgeElsewhere(ctx context.Context, n journal.Network, e journal.Endpoint) error {
	if n.Options.Kind != link.Ipvlan {
		return nil
	}
	use, paths, err := p.linksOn(ctx, e.Parent)
	if err != nil {
		return err
	}
	for i := range use {
		path, away := paths[use[i].Namespace]
		if !away {
			continue // what hangs from it here is judged when the link is made
		}
		if err := link.Judge(LinkSpec(n, e), use[i:i+1]); err != nil {
			return fmt.Errorf("%w: network %s cannot start a container on node %s beside the link %s in %s: %w",
				ErrTaken, n.Title(), p.cfg.Node, use[i].Name, path, err)
		}
	}
	return nil
}

// linksOn gives the container links on a parent, wherever on this host they
// are, and the paths of the other namespaces by what Usage.Namespace says.
func (p *Parents) linksOn(ctx context.Context, parent string) (use []link.Usage, paths map[int]string, err error) {
	elsewhere, err := p.cfg.Elsewhere()
	if err != nil {
		return nil, nil, fmt.Errorf("look for links on %s of node %s: %w", parent, p.cfg.Node, err)
	}
	paths = make(map[int]string, len(elsewhere))
	for _, ns := range elsewhere {
		defer ns.Close()
		paths[ns.Fd()] = ns.Path()
	}
	use, err = p.cfg.Links.InUse(ctx, parent, slices.Collect(maps.Keys(paths))...)
	if err != nil {
		return nil, nil, fmt.Errorf("look for links on %s of node %s: %w", parent, p.cfg.Node, err)
	}
	return use, paths, nil
}

// LinkSpec is an endpoint's link but for its MAC.
func LinkSpec(n journal.Network, e journal.Endpoint) link.Spec {
	spec := n.Options.Spec()
	spec.Name, spec.Parent, spec.Owner = e.Link, e.Parent, e.ID
	return spec
}

// Check refuses a network that can work nowhere: one of the whole
// cluster without any parent named. A list that nothing on this host matches
// is no error here, since another host's may.
func Check(n journal.Network) error {
	if n.Stage == journal.StageLocal || n.Internal || !n.Isolated() {
		return nil
	}
	return parentfile.ErrEmpty
}

// Warnings are what a user should know of what a network hangs from here, that
// is no reason to refuse it: each one sentence.
func (p *Parents) Warnings(ctx context.Context, n journal.Network) []string {
	if n.Isolated() {
		return nil
	}
	have, err := p.Inventory(ctx)
	if err != nil {
		return nil
	}
	choice, _, err := p.ChooseFrom(have, n)
	if err != nil {
		return []string{fmt.Sprintf("no container can start on it here now: %s", err)}
	}
	return append(subnetWarnings(n, choice), p.sharingWarnings(n, Name(choice), have)...)
}

// subnetWarnings compares the network's subnets with the parent's addresses:
// a switched network belongs on its parent's subnet, a routed one beside it.
func subnetWarnings(n journal.Network, choice parentfile.Choice) []string {
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
func (p *Parents) sharingWarnings(n journal.Network, parent string, have []parentfile.Interface) []string {
	var warnings []string
	for _, other := range p.cfg.State.Networks() {
		why := link.Beside(n.Options.Spec(), other.Options.Spec())
		if why == "" || other.ID == n.ID || other.Stage == journal.StageGone || other.Isolated() {
			continue
		}
		if choice, _, err := p.ChooseFrom(have, other); err == nil && Name(choice) == parent {
			warnings = append(warnings, fmt.Sprintf("its containers (%s) and those of network %s (%s) cannot run on %s at the same time: %s",
				n.Options.Links(), other.Title(), other.Options.Links(), parent, why))
		}
	}
	return warnings
}

// Supported refuses a network whose links this host's kernel cannot make,
// naming the module.
func (p *Parents) Supported(ctx context.Context, n journal.Network) error {
	if err := p.cfg.Links.Supports(ctx, n.Options.Kind); err != nil {
		return fmt.Errorf("make network %s on node %s: %w", n.Title(), p.cfg.Node, err)
	}
	if !n.Isolated() {
		return nil
	}
	if err := p.cfg.Links.Supports(ctx, link.Dummy); err != nil {
		return fmt.Errorf("make network %s on node %s, which has no parent: %w", n.Title(), p.cfg.Node, err)
	}
	return nil
}
