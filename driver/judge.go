package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gvlan/driver/link"
)

// ErrParentTaken is wrapped when a network cannot start a container on a
// parent because of what already runs there.
var ErrParentTaken = errors.New("parent is taken")

// judge tells whether a network may start a container on a parent beside what
// this host's other networks run there. It is judged at container start, on
// each host, since only what runs matters: macvlan and ipvlan exclude each
// other, passthru shares with nobody, and ipvlan's mode and flag belong to
// the parent, so that another would silently change the running containers.
func (d *Driver) judge(n hostNetwork, parent, self string) error {
	for _, e := range d.state.allEndpoints() {
		if e.ID == self || e.Parent != parent || e.Link == "" {
			continue
		}
		other, ok := d.state.network(e.Network)
		if !ok {
			continue
		}
		if why := clash(n.Options, other.Options, n.ID == other.ID); why != "" {
			return fmt.Errorf("%w: network %s (%s) cannot start a container on %s of node %s while network %s (%s) has one there: %s",
				ErrParentTaken, n.title(), n.Options.links(), parent, d.cfg.host(), other.title(), other.Options.links(), why)
		}
	}
	return nil
}

// judgeElsewhere tells whether an ipvlan network may start a container beside
// links that are not ours and run in other namespaces, such as those of
// Docker's own ipvlan driver. The kernel, which refuses everything else that
// cannot stand beside them, gives them the new link's mode without a word.
func (d *Driver) judgeElsewhere(ctx context.Context, n hostNetwork, e hostEndpoint) error {
	if n.Options.Kind != link.Ipvlan {
		return nil
	}
	use, paths, err := d.linksOn(ctx, e.Parent)
	if err != nil {
		return err
	}
	for i := range use {
		path, away := paths[use[i].Namespace]
		if !away {
			continue // what hangs from it here is judged when the link is made
		}
		if err := link.Judge(n.linkSpec(e), use[i:i+1]); err != nil {
			return fmt.Errorf("%w: network %s cannot start a container on node %s beside the link %s in %s: %w",
				ErrParentTaken, n.title(), d.cfg.host(), use[i].Name, path, err)
		}
	}
	return nil
}

// linksOn gives the container links on a parent, wherever on this host they
// are, and the paths of the other namespaces by what Usage.Namespace says.
func (d *Driver) linksOn(ctx context.Context, parent string) (use []link.Usage, paths map[int]string, err error) {
	elsewhere, err := d.cfg.Elsewhere()
	if err != nil {
		return nil, nil, fmt.Errorf("look for links on %s of node %s: %w", parent, d.cfg.host(), err)
	}
	paths = make(map[int]string, len(elsewhere))
	for _, ns := range elsewhere {
		defer ns.Close()
		paths[ns.Fd()] = ns.Path()
	}
	use, err = d.cfg.Links.InUse(ctx, parent, slices.Collect(maps.Keys(paths))...)
	if err != nil {
		return nil, nil, fmt.Errorf("look for links on %s of node %s: %w", parent, d.cfg.host(), err)
	}
	return use, paths, nil
}

// clash says why links of a cannot stand beside links of b on one parent, or
// "".
func clash(a, b Options, same bool) string {
	switch {
	case a.Kind != b.Kind:
		return "macvlan and ipvlan cannot share a parent"
	case a.Mode == link.Passthru || b.Mode == link.Passthru:
		return "a passthru link takes its parent for itself"
	case same:
		return ""
	case a.Kind == link.Ipvlan && (a.Mode != b.Mode || a.Flag != b.Flag):
		return "mode and flag of ipvlan belong to the parent, the kernel would change the running containers"
	}
	return ""
}

// links describes the network's links, for messages.
func (o Options) links() string {
	if o.Kind == link.Ipvlan && o.Flag != link.FlagBridge {
		return fmt.Sprintf("%s %s %s", o.Kind, o.Mode, o.Flag)
	}
	return fmt.Sprintf("%s %s", o.Kind, o.Mode)
}
