package parent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/trouble"
)

// rebuildDelay lets a burst of link events (a bond coming up, a network
// manager reloading) pass before links are looked at once.
const rebuildDelay = 200 * time.Millisecond

// Follow rebuilds VLAN links and dummies at start and whenever the host's links
// change, until ctx ends: a NIC was plugged again, or a network manager removed
// a VLAN. It calls told after each time.
func (p *Parents) Follow(ctx context.Context, told func()) error {
	changed := make(chan struct{}, 1)
	watched := make(chan error, 1)
	go func() {
		watched <- p.cfg.Links.Watch(ctx, func(link.Event) {
			select {
			case changed <- struct{}{}:
			default:
			}
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
			p.rebuildAll(ctx)
			told()
		}
		select {
		case <-ctx.Done():
		case <-time.After(rebuildDelay):
		}
	}
}

// rebuildAll makes what this host's networks hang from.
func (p *Parents) rebuildAll(ctx context.Context) {
	for _, n := range p.cfg.State.Networks() {
		err := p.rebuild(ctx, n.ID)
		if err != nil {
			err = fmt.Errorf("make what network %s hangs from: %w", n.Title(), err)
		}
		p.cfg.Troubles.Settle(ctx, linksOf(n), err)
	}
}

// linksOf is what a failure to make what a network hangs from is filed under.
func linksOf(n journal.Network) trouble.Matter {
	return trouble.Matter{What: "making what it hangs from", Of: n.ID, Then: "containers here reach nobody on it"}
}

// rebuild makes what one network hangs from, if it is still there.
func (p *Parents) rebuild(ctx context.Context, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.cfg.State.Network(id)
	if !ok || n.Stage == journal.StageGone || n.Removing {
		return nil
	}
	had := len(n.Links) + len(n.Given)
	if err := p.Prepare(ctx, &n, true); err != nil || len(n.Links)+len(n.Given) == had {
		return err
	}
	return p.cfg.State.ChangeNetwork(id, func(have *journal.Network) { have.Links, have.Given = n.Links, n.Given })
}

// Release removes the links only n used, the innermost first. A link that is
// not ours, or that something hangs from, stays. The caller holds the lock.
func (p *Parents) Release(ctx context.Context, n journal.Network) error {
	networks := p.cfg.State.Networks()
	var failed error
	for _, name := range slices.Backward(n.Links) {
		needed, err := p.needsParent(ctx, name, n.ID, networks)
		if err == nil && !needed {
			err = p.cfg.Links.Remove(ctx, name)
		}
		if !errors.Is(err, link.ErrForeign) && !errors.Is(err, link.ErrInUse) && !errors.Is(err, link.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// Sweep removes links of ours that neither an endpoint nor a network of
// this host has: what a crash left.
func (p *Parents) Sweep(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	strays, failed := p.strays(ctx)
	for _, l := range strays {
		err := p.cfg.Links.Remove(ctx, l.Name)
		if !errors.Is(err, link.ErrInUse) && !errors.Is(err, link.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// Strays are the links that Sweep would remove now.
func (p *Parents) Strays(ctx context.Context) ([]link.Link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.strays(ctx)
}

// RemoveStray removes one of them, and reports whether it still was one.
func (p *Parents) RemoveStray(ctx context.Context, name string) (removed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	strays, err := p.strays(ctx)
	if !slices.ContainsFunc(strays, func(l link.Link) bool { return l.Name == name }) {
		return false, err
	}
	err = p.cfg.Links.Remove(ctx, name)
	if errors.Is(err, link.ErrInUse) || errors.Is(err, link.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// strays are the links of ours that nobody has, as far as that can be told.
func (p *Parents) strays(ctx context.Context) (strays []link.Link, failed error) {
	owned, err := p.cfg.Links.Owned(ctx)
	if err != nil {
		return nil, err
	}
	networks := p.cfg.State.Networks()
	for _, l := range owned {
		needed, err := p.needsLink(ctx, l, networks)
		if err == nil && !needed {
			strays = append(strays, l)
		} else if !errors.Is(err, link.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return strays, failed
}

// needsLink reports whether an endpoint, a network or any container has a link
// of ours.
func (p *Parents) needsLink(ctx context.Context, l link.Link, networks []journal.Network) (bool, error) {
	if l.Shim {
		return true, nil // host access keeps those, and takes them away
	}
	if l.Kind == link.Macvlan || l.Kind == link.Ipvlan {
		_, known := p.cfg.State.Endpoint(l.Owner)
		return known, nil
	}
	return p.needsParent(ctx, l.Name, "", networks)
}

// needsParent reports whether a network other than the one with an id, or any
// container, hangs from a link. A parent goes with all that hangs from it, also
// in containers, and after a lost journal the networks do not tell of those:
// the kernel is asked.
func (p *Parents) needsParent(ctx context.Context, name, id string, networks []journal.Network) (bool, error) {
	if usedByOther(name, id, networks) {
		return true, nil
	}
	use, _, err := p.linksOn(ctx, name)
	return len(use) > 0, err
}

// usedByOther reports whether a network other than the one with an id uses a
// link.
func usedByOther(name, id string, all []journal.Network) bool {
	return slices.ContainsFunc(all, func(n journal.Network) bool {
		return n.ID != id && n.Stage != journal.StageGone && slices.Contains(n.Links, name)
	})
}
