// Package cleanup takes away what an agent that was stopped for good leaves in its
// host's network namespace: routes, links of host access, links of containers that
// ended meanwhile, VLAN links and dummies. All of it is known by the marks it carries,
// so neither the store, nor the engine, nor the journal is asked.
//
// A running container keeps its link and addresses, and what its link hangs from
// stays: the kernel would take both away together. The caller sees to it that no agent
// begins meanwhile.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/route"
)

// Links is the host's links; *link.Kernel is one.
type Links interface {
	// Owned lists the links that carry this driver's mark.
	Owned(ctx context.Context) ([]link.Link, error)
	// InUse lists the container links that hang from a parent, also in the
	// namespaces with the descriptors elsewhere.
	InUse(ctx context.Context, parent string, elsewhere ...int) ([]link.Usage, error)
	// Remove deletes a link of ours; an absent one is success, one that another
	// hangs from link.ErrInUse.
	Remove(ctx context.Context, name string) error
}

// Routes is the host's routes and neighbours; *route.Kernel is one.
type Routes interface {
	// Ours lists what carries the protocol number.
	Ours(ctx context.Context) (route.State, error)
	// Set makes of ours that leave by a link in reach those that are wanted.
	Set(ctx context.Context, reach func(link string) bool, want route.State) error
}

// Host is where an agent was.
type Host struct {
	Links     Links
	Routes    Routes
	Elsewhere func() ([]*netns.Namespace, error) // opens its other network namespaces
}

// Cleaned is what became of what was left.
type Cleaned struct {
	Links  []string // removed
	Routes []route.Route
	Kept   []string // links that something hangs from, the outermost last
}

// Clean takes away what it may. What cannot be removed is in the error, and the rest
// goes.
func Clean(ctx context.Context, h Host) (Cleaned, error) {
	var c Cleaned
	// Routes first: a link takes those that leave by it along, and they were not told.
	failed := h.cleanRoutes(ctx, &c)
	elsewhere, err := h.Elsewhere()
	if err != nil {
		return c, errors.Join(failed, fmt.Errorf("look into containers: %w", err))
	}
	var descriptors []int
	for _, ns := range elsewhere {
		defer ns.Close()
		descriptors = append(descriptors, ns.Fd())
	}
	// What hangs from another link goes before that one, which may take rounds: a
	// container's, the inner VLAN, the outer.
	for {
		left, err := h.Links.Owned(ctx)
		if err != nil {
			return c, errors.Join(failed, err)
		}
		removed, errs := h.round(ctx, left, descriptors, &c)
		if removed == 0 {
			return c, errors.Join(failed, errs)
		}
	}
}

// cleanRoutes removes every route and neighbour of ours.
func (h Host) cleanRoutes(ctx context.Context, c *Cleaned) error {
	had, err := h.Routes.Ours(ctx)
	if err != nil {
		return err
	}
	err = h.Routes.Set(ctx, func(string) bool { return true }, route.State{})
	left, again := h.Routes.Ours(ctx)
	for _, r := range had.Routes {
		if again == nil && !slices.Contains(left.Routes, r) {
			c.Routes = append(c.Routes, r)
		}
	}
	return errors.Join(err, again)
}

// round removes those of the links that nothing hangs from, and says how many went.
func (h Host) round(ctx context.Context, links []link.Link, elsewhere []int, c *Cleaned) (removed int, failed error) {
	c.Kept = nil
	for _, l := range links {
		used, err := h.Links.InUse(ctx, l.Name, elsewhere...)
		if err == nil && len(used) == 0 {
			err = h.Links.Remove(ctx, l.Name)
		}
		switch {
		case errors.Is(err, link.ErrNotFound): // it went with another
		case len(used) > 0, errors.Is(err, link.ErrInUse):
			c.Kept = append(c.Kept, l.Name)
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("remove link %s: %w", l.Name, err))
		default:
			c.Links = append(c.Links, l.Name)
			removed++
		}
	}
	return removed, failed
}
