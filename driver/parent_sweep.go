package driver

import (
	"context"
	"errors"
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
		if n.Stage == StageGone || n.Removing {
			continue
		}
		had := n
		if err := d.parents.prepare(ctx, &n, true); err != nil {
			d.troubles.tell(d.log, "links of "+n.title(), err)
			continue
		}
		d.troubles.over("links of " + n.title())
		if slices.Equal(had.Links, n.Links) && slices.Equal(had.Given, n.Given) {
			continue
		}
		err := d.state.changeNetwork(n.ID, func(have *hostNetwork) {
			have.Links, have.Given = merge(have.Links, n.Links), merge(have.Given, n.Given)
		})
		if err != nil {
			d.log.Error("could not journal the links of a network", "network", n.title(), "error", err)
		}
	}
}

// sweep removes links of ours that neither an endpoint nor a network of this
// host has: what a crash left.
func (p *parents) sweep(ctx context.Context, state *registry) error {
	owned, err := p.links.Owned(ctx)
	if err != nil {
		return err
	}
	networks := state.allNetworks()
	var failed error
	for _, l := range owned {
		if p.needed(l, state, networks) {
			continue
		}
		err := p.links.Remove(ctx, l.Name)
		if errors.Is(err, link.ErrInUse) {
			continue
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (p *parents) needed(l link.Link, state *registry, networks []hostNetwork) bool {
	if l.Kind == link.Macvlan || l.Kind == link.Ipvlan {
		_, known := state.endpoint(l.Owner)
		return known
	}
	return usedByOther(l.Name, "", networks)
}
