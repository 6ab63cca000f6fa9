package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Made is what Ensure found or made.
type Made struct {
	Name    string // the link to use: Spec.Name, or the name under which the VLAN id is there already
	Index   int
	Created bool // false: it was there
}

// Ensure makes the link that spec describes, unless it is there.
//
// A VLAN link or dummy that is there without our mark is used as it is, a
// VLAN id of the parent that is there under another name is used under that
// name; both are left unchanged. Our own VLAN links and dummies are set up. A
// macvlan or ipvlan link of ours that differs from spec is made anew; it stays
// down, in this namespace, for Docker to move; a shim of ours that it cannot be
// made beside goes, and a shim itself is set up. Masters are never touched.
//
// Errors wrap ErrSpec, ErrNotFound (the parent), ErrForeign (a container link
// of that name is not ours), ErrParentBusy, ErrModeConflict, ErrParentType,
// ErrMTU or ErrNoKernelSupport. Nothing half-made stays after an error.
func (k *Kernel) Ensure(ctx context.Context, spec Spec) (Made, error) {
	if err := spec.Check(); err != nil {
		return Made{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ensure(ctx, spec.WithDefaults())
}

// EnsureVLANs makes the VLAN links for vids on master, outermost tag first,
// and gives the innermost. Links that it made itself are removed again when a
// later one fails. Without vids it gives master. Errors are those of Ensure.
func (k *Kernel) EnsureVLANs(ctx context.Context, master string, vids []int, owner string) (Made, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	made := Made{Name: master}
	var created []string
	for _, vid := range vids {
		next, err := k.ensureVLAN(ctx, made.Name, vid, owner)
		if err != nil {
			return Made{}, errors.Join(err, k.removeBackwards(created))
		}
		if next.Created {
			created = append(created, next.Name)
		}
		made = next
	}
	return made, nil
}

func (k *Kernel) ensureVLAN(ctx context.Context, master string, vid int, owner string) (Made, error) {
	spec := Spec{Name: VLANName(master, vid), Kind: VLAN, Parent: master, VLAN: vid, Owner: owner}
	if err := spec.Check(); err != nil {
		return Made{}, err
	}
	return k.ensure(ctx, spec)
}

func (k *Kernel) removeBackwards(names []string) error {
	var errs []error
	for i := len(names) - 1; i >= 0; i-- {
		if l, err := k.byName(names[i]); err == nil {
			errs = append(errs, k.net.LinkDel(l))
		}
	}
	return errors.Join(errs...)
}

func (k *Kernel) ensure(ctx context.Context, spec Spec) (Made, error) {
	if err := ctx.Err(); err != nil {
		return Made{}, err
	}
	there, err := k.byName(spec.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		return k.ensureNew(ctx, spec)
	case err != nil:
		return Made{}, err
	case !k.owns(there) && spec.forContainer():
		return Made{}, fmt.Errorf("make %s: the name is taken: %w", spec, ErrForeign)
	case !k.owns(there):
		return found(there), nil
	}
	parent, err := k.parent(spec)
	if err != nil {
		return Made{}, err
	}
	if !spec.forContainer() {
		return k.keep(spec, there, parent)
	}
	if spec.matches(there, parent) {
		return found(there), k.finish(spec, there)
	}
	if err := k.delete(there); err != nil {
		return Made{}, err
	}
	return k.ensureNew(ctx, spec)
}

func found(l netlink.Link) Made {
	return Made{Name: l.Attrs().Name, Index: l.Attrs().Index}
}

// keep brings our VLAN link or dummy into line with spec without making it
// anew, which would take the running containers' links with it.
func (k *Kernel) keep(spec Spec, there netlink.Link, parent netlink.Link) (Made, error) {
	now := observe(there)
	if now.Kind != spec.Kind || now.VLAN != spec.VLAN || spec.Kind == VLAN && localParent(there) != parent.Attrs().Index {
		return Made{}, fmt.Errorf("make %s: the name is taken by %s: %w", spec, now.Spec, ErrInUse)
	}
	if want := spec.mtu(parent); want != 0 && want != now.MTU {
		if err := k.net.LinkSetMTU(there, want); err != nil {
			return Made{}, fmt.Errorf("set MTU of link %s: %w", spec.Name, err)
		}
	}
	return found(there), k.finish(spec, there)
}

// matches reports whether the container link there is what spec asks for.
func (s Spec) matches(there, parent netlink.Link) bool {
	now := observe(there)
	return now.Kind == s.Kind && now.Mode == s.Mode && now.Flag == s.Flag &&
		(s.MAC == nil || bytes.Equal(s.MAC, now.MAC)) &&
		localParent(there) == underlying(parent) && now.MTU == s.mtu(parent)
}

// mtu gives the MTU the link is to have, 0 for a dummy's own default.
func (s Spec) mtu(parent netlink.Link) int {
	if s.MTU != 0 || parent == nil {
		return s.MTU
	}
	return parent.Attrs().MTU
}

// underlying gives the index that a child of l reports as its parent: the
// kernel puts macvlan on macvlan, and ipvlan on ipvlan, onto the real device.
func underlying(l netlink.Link) int {
	switch l.(type) {
	case *netlink.Macvlan, *netlink.IPVlan:
		return l.Attrs().ParentIndex
	}
	return l.Attrs().Index
}

// ensureNew makes spec, whose name is free.
func (k *Kernel) ensureNew(ctx context.Context, spec Spec) (Made, error) {
	parent, err := k.parent(spec)
	if err != nil {
		return Made{}, err
	}
	switch {
	case spec.Kind == Dummy:
		return k.create(spec, 0)
	case spec.Kind == VLAN:
		there, err := k.tagged(ctx, parent.Attrs().Index, spec.VLAN)
		if err != nil {
			return Made{}, err
		}
		if there != nil {
			return found(there), nil
		}
	default:
		if err := k.makeWay(ctx, spec, parent); err != nil {
			return Made{}, err
		}
		if err := k.judge(ctx, spec); err != nil {
			return Made{}, err
		}
	}
	return k.create(spec, parent.Attrs().Index)
}

// makeWay removes our shims that a container's link cannot be made beside: who
// starts a container was judged by those that run, and where one of those needs the
// shim the kernel refuses the link as it would without.
func (k *Kernel) makeWay(ctx context.Context, spec Spec, parent netlink.Link) error {
	all, err := k.list(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		ours := isShim(l) && k.owns(l) && localParent(l) == underlying(parent)
		if !ours || spec.Shim && l.Attrs().Name == spec.Name || Beside(spec, observe(l).Spec) == "" {
			continue
		}
		if err := k.delete(l); err != nil {
			return err
		}
	}
	return nil
}

// parent looks the parent up and refuses what cannot be one. A dummy's is nil.
func (k *Kernel) parent(spec Spec) (netlink.Link, error) {
	if spec.Kind == Dummy {
		return nil, nil
	}
	l, err := k.byName(spec.Parent)
	if err != nil {
		return nil, fmt.Errorf("make %s: parent: %w", spec, err)
	}
	a := l.Attrs()
	switch {
	case a.EncapType != "ether":
		return nil, fmt.Errorf("make %s: %w: it is no Ethernet device but %s", spec, ErrParentType, a.EncapType)
	case spec.MTU > a.MTU:
		return nil, fmt.Errorf("make %s: %w: %d over %d", spec, ErrMTU, spec.MTU, a.MTU)
	}
	return l, nil
}

// tagged gives the VLAN link with that id on the parent, nil if there is none.
func (k *Kernel) tagged(ctx context.Context, parentIndex, vid int) (netlink.Link, error) {
	all, err := k.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if vlan, ok := l.(*netlink.Vlan); ok && localParent(l) == parentIndex && vlanID(vlan) == vid {
			return l, nil
		}
	}
	return nil, nil
}

// create makes, marks and finishes the link, in that order, and removes it
// again when a later step fails.
func (k *Kernel) create(spec Spec, parentIndex int) (Made, error) {
	if err := k.net.LinkAdd(spec.request(parentIndex)); err != nil {
		return Made{}, refused(spec, err)
	}
	made, err := k.byName(spec.Name)
	if err != nil {
		return Made{}, err
	}
	if err := k.complete(spec, made); err != nil {
		return Made{}, errors.Join(err, k.net.LinkDel(made))
	}
	return Made{Name: spec.Name, Index: made.Attrs().Index, Created: true}, nil
}

func (k *Kernel) complete(spec Spec, made netlink.Link) error {
	// Kernels that do not know a setting ignore it instead of refusing.
	if now := observe(made); now.Mode != spec.Mode || now.Flag != spec.Flag {
		return fmt.Errorf("make %s: the kernel made it %s %s: %w", spec, now.Mode, now.Flag, ErrNoKernelSupport)
	}
	return k.finish(spec, made)
}

// finish marks an own link that has no mark yet and sets up the links that
// others hang from.
func (k *Kernel) finish(spec Spec, l netlink.Link) error {
	if l.Attrs().Alias == "" {
		m := mark{driver: k.driver, kind: spec.markKind(), owner: spec.Owner}
		if err := k.net.LinkSetAlias(l, m.String()); err != nil {
			return fmt.Errorf("mark link %s: %w", spec.Name, err)
		}
	}
	if l.Attrs().Group == unfinished {
		if err := k.net.LinkSetGroup(l, 0); err != nil {
			return fmt.Errorf("mark link %s: %w", spec.Name, err)
		}
	}
	if spec.forContainer() && !spec.Shim {
		return nil
	}
	if spec.Shim {
		if err := (sysctls{k.sysctls, int(k.net.NS)}).quiet(spec.Name, spec.Parent); err != nil {
			return fmt.Errorf("make %s: %w", spec, err)
		}
	}
	err := k.net.LinkSetUp(l)
	// A VLAN link cannot be up before its master; the kernel sets it up with it.
	if err != nil && !errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("set up link %s: %w", spec.Name, err)
	}
	return nil
}

// Remove deletes the link of that name. A link that is not there is no error.
// The error wraps ErrForeign when it does not carry this driver's mark, and
// ErrInUse when other links of this namespace hang from it, but for our shims,
// which go with it. Links that were
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
		if localParent(other) == l.Attrs().Index && !(isShim(other) && k.owns(other)) {
			return fmt.Errorf("remove link %s: %s hangs from it: %w", name, other.Attrs().Name, ErrInUse)
		}
	}
	return k.delete(l)
}

func (k *Kernel) delete(l netlink.Link) error {
	err := k.net.LinkDel(l)
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
		if !l.forContainer() || l.Shim || parent != "" && l.Parent != parent || !l.has(mac, addr) || live(l.Name, l.Owner) {
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

// Supports reports whether the kernel can make links of that kind: nil, or an
// *UnsupportedError that names the module and the minimum kernel. It asks for
// an impossible link, which makes the kernel look for the kind's driver (and
// load its module) and then refuse, so that nothing is ever made. For a kind
// that is none of this package's the error wraps ErrSpec.
func (k *Kernel) Supports(ctx context.Context, kind Kind) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	probe := Spec{Name: "gv-probe", Kind: kind, Parent: "none", VLAN: 1}.WithDefaults()
	if err := probe.Check(); err != nil {
		return err
	}
	if kind == Dummy {
		probe.MAC = net.HardwareAddr{1} // refused: an address has 6 bytes
	}
	err := k.net.LinkAdd(probe.request(math.MaxInt32))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return unsupported(kind)
	}
	return nil
}

var macvlanModes = map[netlink.MacvlanMode]Mode{
	netlink.MACVLAN_MODE_BRIDGE:   Bridge,
	netlink.MACVLAN_MODE_PRIVATE:  Private,
	netlink.MACVLAN_MODE_VEPA:     VEPA,
	netlink.MACVLAN_MODE_PASSTHRU: Passthru,
	netlink.MACVLAN_MODE_SOURCE:   "source",
}

var ipvlanModes = map[netlink.IPVlanMode]Mode{
	netlink.IPVLAN_MODE_L2:  L2,
	netlink.IPVLAN_MODE_L3:  L3,
	netlink.IPVLAN_MODE_L3S: L3S,
}

var ipvlanFlags = map[netlink.IPVlanFlag]Flag{
	netlink.IPVLAN_FLAG_BRIDGE:  FlagBridge,
	netlink.IPVLAN_FLAG_PRIVATE: FlagPrivate,
	netlink.IPVLAN_FLAG_VEPA:    FlagVEPA,
}

// keyOf finds the kernel's number for a setting that Spec.Check has accepted.
func keyOf[K, V comparable](m map[K]V, value V) K {
	for key, v := range m {
		if v == value {
			return key
		}
	}
	var zero K
	return zero
}

// request gives the link to ask the kernel for. It is in the unfinished group
// until it has its mark.
func (s Spec) request(parentIndex int) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.Name
	attrs.ParentIndex = parentIndex
	attrs.MTU = s.MTU
	attrs.HardwareAddr = s.MAC
	attrs.Group = unfinished
	switch s.Kind {
	case Macvlan:
		return &netlink.Macvlan{LinkAttrs: attrs, Mode: keyOf(macvlanModes, s.Mode)}
	case Ipvlan:
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: keyOf(ipvlanModes, s.Mode), Flag: keyOf(ipvlanFlags, s.Flag)}
	case VLAN:
		return &netlink.Vlan{LinkAttrs: attrs, VlanId: s.VLAN, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	}
	return &netlink.Dummy{LinkAttrs: attrs}
}

func compareNames(a, b string) int { return strings.Compare(a, b) }

func (k *Kernel) judge(ctx context.Context, spec Spec) error {
	use, err := k.InUse(ctx, spec.Parent)
	if err != nil {
		return err
	}
	return Judge(spec, use)
}
