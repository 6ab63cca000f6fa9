package link

import (
	"context"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Usage is one container link that hangs from a parent.
type Usage struct {
	Spec           // Owner is set for links with this driver's mark
	Owned     bool // carries this driver's mark
	Namespace int  // descriptor it was found in, as passed to InUse; Current for the parent's own
}

// InUse gives the macvlan and ipvlan links (and their tap forms) that hang
// from parent, in the parent's namespace and in the namespaces with the
// descriptors elsewhere. The kernel tells of nobody who hangs from a link, so
// links that were moved to other namespaces are not seen: pass those of the
// running sandboxes. The mode and flag of an ipvlan link are what its parent
// runs now. The error wraps ErrNotFound when there is no such parent.
func (k *Kernel) InUse(ctx context.Context, parent string, elsewhere ...int) ([]Usage, error) {
	on, err := k.byName(parent)
	if err != nil {
		return nil, err
	}
	all, err := k.list(ctx)
	if err != nil {
		return nil, err
	}
	use := k.usages(all, func(l netlink.Link) bool { return localParent(l) == underlying(on) }, parent, Current)
	for _, fd := range elsewhere {
		moved, err := k.movedTo(ctx, fd, parent, underlying(on))
		if err != nil {
			return nil, err
		}
		use = append(use, moved...)
	}
	return use, nil
}

// movedTo finds the links in namespace fd whose parent is in k's namespace.
func (k *Kernel) movedTo(ctx context.Context, fd int, parent string, parentIndex int) ([]Usage, error) {
	there, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("look for links on %s in another namespace: %w", parent, err)
	}
	defer there.Close()
	all, err := dump(ctx, there.LinkList)
	if err != nil {
		return nil, fmt.Errorf("look for links on %s in another namespace: %w", parent, err)
	}
	// Asked last: the kernel names a namespace when it first has to, as in the dump.
	home, err := there.GetNetNsIdByFd(int(k.ns))
	if err != nil {
		return nil, fmt.Errorf("look for links on %s in another namespace: %w", parent, err)
	}
	hangs := func(l netlink.Link) bool {
		return home >= 0 && l.Attrs().NetNsID == home && l.Attrs().ParentIndex == parentIndex
	}
	return k.usages(all, hangs, parent, fd), nil
}

func (k *Kernel) usages(all []netlink.Link, hangs func(netlink.Link) bool, parent string, fd int) []Usage {
	var use []Usage
	for _, l := range all {
		if family(Kind(l.Type())) == "" || !hangs(l) {
			continue
		}
		u := Usage{Spec: observe(l).Spec, Owned: k.owns(l), Namespace: fd}
		u.Parent = parent
		if m, ok := parseMark(l.Attrs().Alias); ok && u.Owned {
			u.Owner = m.owner
		}
		use = append(use, u)
	}
	slices.SortFunc(use, func(a, b Usage) int { return compareNames(a.Name, b.Name) })
	return use
}

// family gives the kernel driver behind a kind of container link: tap forms
// share the parent's port with the plain ones.
func family(kind Kind) Kind {
	switch kind {
	case Macvlan, "macvtap":
		return Macvlan
	case Ipvlan, "ipvtap":
		return Ipvlan
	}
	return ""
}

func (k *Kernel) judge(ctx context.Context, spec Spec) error {
	use, err := k.InUse(ctx, spec.Parent)
	if err != nil {
		return err
	}
	return Judge(spec, use)
}

// Judge reports whether spec can be made beside what its parent carries: nil, or
// a *ConflictError that names the first link in the way. The kernel judges
// too, except that another mode or flag of ipvlan silently changes the links
// that run. A link with spec's own name is not in its way.
func Judge(spec Spec, use []Usage) error {
	spec = spec.WithDefaults()
	for i := range use {
		have := &use[i]
		if have.Name == spec.Name && have.Owned {
			continue
		}
		switch Beside(spec, have.Spec) {
		case ClashKind:
			return &ConflictError{Want: spec, Have: have, Err: ErrParentBusy}
		case ClashPassthru, ClashMode:
			return &ConflictError{Want: spec, Have: have, Err: ErrModeConflict}
		}
	}
	return nil
}

// Clash is why two links cannot hang from one parent, for people; "" when they
// can.
type Clash string

// The clashes there are.
const (
	ClashKind     Clash = "macvlan and ipvlan cannot share a parent"
	ClashPassthru Clash = "a passthru link takes its parent for itself"
	ClashMode     Clash = "mode and flag of ipvlan belong to the parent, the kernel would change the running containers"
)

// Beside says why a link cannot be made beside one that its parent carries. It
// is the one rule of who may share a parent, whether links run or networks are
// compared.
func Beside(want, have Spec) Clash {
	switch {
	case family(want.Kind) == "":
		return ""
	case family(want.Kind) != family(have.Kind):
		return ClashKind
	case family(want.Kind) == Macvlan && (want.Mode == Passthru || have.Mode == Passthru):
		return ClashPassthru
	case family(want.Kind) == Ipvlan && (want.Mode != have.Mode || want.Flag != have.Flag):
		return ClashMode
	}
	return ""
}
