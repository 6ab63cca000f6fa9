package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gvlan/driver/link"
)

// rebuildDelay lets a burst of link events (a bond coming up, a network
// manager reloading) pass before links are looked at once.
const rebuildDelay = 200 * time.Millisecond

// followLinks rebuilds VLAN links and dummies at start and whenever the
// host's links change: a NIC was plugged again, or a network manager removed
// a VLAN.
func (d *Driver) followLinks(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	watched := make(chan error, 1)
	go func() {
		watched <- d.cfg.Links.Watch(ctx, func(link.Event) {
			tell(changed)
		})
	}()
	for {
		select {
		case err := <-watched:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-changed:
			d.rebuildLinks(ctx)
			d.poke()
		}
		select {
		case <-ctx.Done():
		case <-time.After(rebuildDelay):
		}
	}
}

// rebuildLinks makes what this host's networks hang from.
func (d *Driver) rebuildLinks(ctx context.Context) {
	for _, n := range d.state.allNetworks() {
		if err := d.rebuild(ctx, n.ID); err != nil {
			d.troubles.tell(d.log, linksOf(n), fmt.Errorf("make what network %s hangs from: %w", n.title(), err))
			continue
		}
		d.troubles.over(linksOf(n))
	}
}

// rebuild makes what one network hangs from, if it is still there.
func (d *Driver) rebuild(ctx context.Context, id string) error {
	d.parents.mu.Lock()
	defer d.parents.mu.Unlock()
	n, ok := d.state.network(id)
	if !ok || n.Stage == StageGone || n.Removing {
		return nil
	}
	had := len(n.Links) + len(n.Given)
	if err := d.parents.prepare(ctx, &n, true); err != nil || len(n.Links)+len(n.Given) == had {
		return err
	}
	return d.state.changeNetwork(id, func(have *hostNetwork) { have.Links, have.Given = n.Links, n.Given })
}

// release removes the links only n used, the innermost first. A link that is
// not ours, or that something hangs from, stays. The caller holds parents.mu.
func (d *Driver) release(ctx context.Context, n hostNetwork) error {
	networks := d.state.allNetworks()
	var failed error
	for _, name := range slices.Backward(n.Links) {
		needed, err := d.needsParent(ctx, name, n.ID, networks)
		if err == nil && !needed {
			err = d.cfg.Links.Remove(ctx, name)
		}
		if !errors.Is(err, link.ErrForeign) && !errors.Is(err, link.ErrInUse) && !errors.Is(err, link.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// sweepLinks removes links of ours that neither an endpoint nor a network of
// this host has: what a crash left.
func (d *Driver) sweepLinks(ctx context.Context) error {
	d.parents.mu.Lock()
	defer d.parents.mu.Unlock()
	owned, err := d.cfg.Links.Owned(ctx)
	if err != nil {
		return err
	}
	networks := d.state.allNetworks()
	var failed error
	for _, l := range owned {
		needed, err := d.needsLink(ctx, l, networks)
		if err == nil && !needed {
			err = d.cfg.Links.Remove(ctx, l.Name)
		}
		if !errors.Is(err, link.ErrInUse) && !errors.Is(err, link.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// needsLink reports whether an endpoint, a network or any container has a link
// of ours.
func (d *Driver) needsLink(ctx context.Context, l link.Link, networks []hostNetwork) (bool, error) {
	if l.Kind == link.Macvlan || l.Kind == link.Ipvlan {
		_, known := d.state.endpoint(l.Owner)
		return known, nil
	}
	return d.needsParent(ctx, l.Name, "", networks)
}

// needsParent reports whether a network other than the one with an id, or any
// container, hangs from a link. A parent goes with all that hangs from it, also
// in containers, and after a lost journal the networks do not tell of those:
// the kernel is asked.
func (d *Driver) needsParent(ctx context.Context, name, id string, networks []hostNetwork) (bool, error) {
	if usedByOther(name, id, networks) {
		return true, nil
	}
	use, _, err := d.linksOn(ctx, name)
	return len(use) > 0, err
}

// usedByOther reports whether a network other than the one with an id uses a
// link.
func usedByOther(name, id string, all []hostNetwork) bool {
	return slices.ContainsFunc(all, func(n hostNetwork) bool {
		return n.ID != id && n.Stage != StageGone && slices.Contains(n.Links, name)
	})
}
