package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"gvlan/driver/rtnetlink"
)

// others says what is in the way of routes that are to be made, for one call. It
// remembers what it listed, of those destinations alone: a host may have the routes of
// the whole internet.
type others struct {
	kernel *Kernel
	links  links
	// ask looks up each destination before it lists a whole table.
	ask    bool
	to     map[netip.Prefix]bool
	listed map[tableOf]map[netip.Prefix][]entry
}

// tableOf is a routing table's IPv4 or IPv6 half.
type tableOf struct{ family, table int }

func newOthers(k *Kernel, todo Changes, l links, ask bool) *others {
	o := &others{kernel: k, links: l, ask: ask, to: make(map[netip.Prefix]bool, len(todo.Make)+len(todo.Move)), listed: map[tableOf]map[netip.Prefix][]entry{}}
	for _, r := range todo.Make {
		o.to[r.Dst] = true
	}
	for _, m := range todo.Move {
		o.to[m.To.Dst] = true
	}
	return o
}

func (r Route) tableOf() tableOf {
	t := tableOf{unix.AF_INET6, r.Table}
	if r.Dst.Addr().Is4() {
		t.family = unix.AF_INET
	}
	if t.table == 0 {
		t.table = unix.RT_TABLE_MAIN
	}
	return t
}

// refuse is ErrInTheWay, naming it, where somebody else has a route to the same
// destination in the same table, whatever its metric.
func (o *others) refuse(ctx context.Context, r Route) error {
	if _, known := o.listed[r.tableOf()]; o.ask && !known {
		if err, certain := o.lookUp(r); certain {
			return err
		}
	}
	there, err := o.at(ctx, r)
	if err != nil {
		return err
	}
	for _, e := range there {
		if e.protocol != o.kernel.protocol {
			return o.inTheWay(e)
		}
	}
	return nil
}

func (o *others) inTheWay(e entry) error { return fmt.Errorf("%w: %s", ErrInTheWay, e.named(o.links)) }

// lookUp is refuse by what the kernel takes to the destination's first address: that
// costs as much among ten thousand routes as among few, and says nothing certain where
// a longer prefix, another table or an error is what it takes.
func (o *others) lookUp(r Route) (err error, certain bool) {
	// An unspecified address stands for the loopback, and a table of its own may be
	// looked up for some senders only, or not yet.
	if r.Dst.Addr().IsUnspecified() || r.Table != 0 {
		return nil, false
	}
	e, err := match(o.kernel.socket, r.Dst.Addr())
	switch {
	case errors.Is(err, unix.ENETUNREACH):
		return nil, true
	case err != nil, e.table != r.tableOf().table, e.kind == unix.RTN_LOCAL, e.Dst.Bits() > r.Dst.Bits():
		return nil, false
	case e.Dst == r.Dst && e.protocol != o.kernel.protocol:
		return o.inTheWay(e), true
	}
	return nil, true
}

// at gives what anybody has to a route's destination in its table.
func (o *others) at(ctx context.Context, r Route) ([]entry, error) {
	t := r.tableOf()
	by, known := o.listed[t]
	if !known {
		all, err := rtnetlink.Dump(ctx, func() ([]entry, error) {
			return dump(o.kernel.socket, t.family, t.table, 0, func(_ header, dst netip.Prefix) bool { return o.to[dst] })
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		by = map[netip.Prefix][]entry{}
		for _, e := range all {
			by[e.Dst] = append(by[e.Dst], e)
		}
		o.listed[t] = by
	}
	return by[r.Dst], nil
}
