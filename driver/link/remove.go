package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Remove deletes the link of that name. A link that is not there is no error.
// The error wraps ErrForeign when it does not carry this driver's mark, and
// ErrInUse when other links of this namespace hang from it. Links that were
// moved to sandboxes are not seen from here and would go with their parent:
// the caller counts the users of a parent.
func (k *Kernel) Remove(ctx context.Context, name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, err := k.byName(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !k.owns(l) {
		return fmt.Errorf("remove link %s: %w", name, ErrForeign)
	}
	all, err := k.list(ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if localParent(other) == l.Attrs().Index {
			return fmt.Errorf("remove link %s: %s hangs from it: %w", name, other.Attrs().Name, ErrInUse)
		}
	}
	return k.delete(l)
}

func (k *Kernel) delete(l netlink.Link) error {
	err := k.handle.LinkDel(l)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// RemoveStale deletes the container links of this driver in this namespace
// that would keep a new link with mac or addr from coming up: the kernel
// refuses a second macvlan link with the MAC of one that is up on the same
// parent, and a second ipvlan link with its address. Considered are links
// on parent (on any where it is "") that have mac (nil for none) or addr (the
// zero Addr for none) and for which live, called with name and owner, is
// false. It gives the names of the links it removed.
//
// It serves the host's namespace, where Docker puts a stopped container's
// link, and a dead container's sandbox, where parent has no name and is "".
func (k *Kernel) RemoveStale(ctx context.Context, parent string, mac net.HardwareAddr, addr netip.Addr, live func(name, owner string) bool) ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	owned, err := k.owned(ctx)
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, l := range owned {
		if !l.forContainer() || parent != "" && l.Parent != parent || !l.has(mac, addr) || live(l.Name, l.Owner) {
			continue
		}
		if err := k.delete(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: l.Name, Index: l.Index}}); err != nil {
			return removed, err
		}
		removed = append(removed, l.Name)
	}
	return removed, nil
}

func (l Link) has(mac net.HardwareAddr, addr netip.Addr) bool {
	if l.Kind == Macvlan && len(mac) > 0 && bytes.Equal(mac, l.MAC) {
		return true
	}
	return addr.IsValid() && slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == addr })
}
