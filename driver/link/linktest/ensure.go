package linktest

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"gvlan/driver/link"
)

// Ensure is link.Kernel's.
func (k *Kernel) Ensure(ctx context.Context, spec link.Spec) (link.Made, error) {
	if err := spec.Check(); err != nil {
		return link.Made{}, err
	}
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "Ensure", spec.Name); err != nil {
		return link.Made{}, err
	}
	return k.ensure(spec.WithDefaults())
}

// EnsureVLANs is link.Kernel's.
func (k *Kernel) EnsureVLANs(ctx context.Context, master string, vids []int, owner string) (link.Made, error) {
	k.host.mu.Lock()
	defer k.host.mu.Unlock()
	if err := k.begin(ctx, "EnsureVLANs", master); err != nil {
		return link.Made{}, err
	}
	made := link.Made{Name: master}
	var created []string
	for _, vid := range vids {
		spec := link.VLANs(made.Name, []int{vid}, owner)[0]
		next, err := link.Made{}, spec.Check()
		if err == nil {
			next, err = k.ensure(spec)
		}
		if err != nil {
			for _, name := range created {
				k.host.drop(name)
			}
			return link.Made{}, err
		}
		if next.Created {
			created = append(created, next.Name)
		}
		made = next
	}
	return made, nil
}

// Supports is link.Kernel's.
func (k *Kernel) Supports(ctx context.Context, kind link.Kind) error {
	if !slices.Contains(k.host.kinds, kind) {
		return &link.UnsupportedError{Kind: kind, Module: string(kind), MinKernel: "4.2"}
	}
	return ctx.Err()
}

func (k *Kernel) ensure(spec link.Spec) (link.Made, error) {
	there, ok := k.host.at(spec.Name)
	switch {
	case !ok:
		return k.ensureNew(spec)
	case there.driver != k.driver && forContainer(spec):
		return link.Made{}, fmt.Errorf("make %s: the name is taken: %w", spec, link.ErrForeign)
	case there.driver != k.driver:
		return found(there), nil
	}
	parent, err := k.parent(spec)
	if err != nil {
		return link.Made{}, err
	}
	if !forContainer(spec) {
		return keep(spec, there, parent)
	}
	if matches(spec, there, parent) {
		return found(there), nil
	}
	k.host.drop(there.Name)
	return k.ensureNew(spec)
}

func found(e *entry) link.Made { return link.Made{Name: e.Name, Index: e.Index} }

func forContainer(s link.Spec) bool { return s.Kind == link.Macvlan || s.Kind == link.Ipvlan }

func keep(spec link.Spec, there, parent *entry) (link.Made, error) {
	if there.Kind != string(spec.Kind) || there.VLAN != spec.VLAN || there.Parent != spec.Parent {
		return link.Made{}, fmt.Errorf("make %s: the name is taken: %w", spec, link.ErrInUse)
	}
	there.MTU = mtu(spec, parent, there.MTU)
	return found(there), nil
}

func matches(spec link.Spec, there, parent *entry) bool {
	return there.Kind == string(spec.Kind) && there.mode == spec.Mode && there.flag == spec.Flag &&
		(spec.MAC == nil || bytes.Equal(spec.MAC, there.mac)) &&
		there.Parent == spec.Parent && there.MTU == mtu(spec, parent, 0)
}

func mtu(spec link.Spec, parent *entry, fallback int) int {
	switch {
	case spec.MTU != 0:
		return spec.MTU
	case parent != nil:
		return parent.MTU
	}
	return fallback
}

func (k *Kernel) parent(spec link.Spec) (*entry, error) {
	if spec.Kind == link.Dummy {
		return nil, nil
	}
	parent, ok := k.host.at(spec.Parent)
	switch {
	case !ok:
		return nil, fmt.Errorf("make %s: parent: %w", spec, link.ErrNotFound)
	case parent.Loopback:
		return nil, fmt.Errorf("make %s: %w", spec, link.ErrParentType)
	case spec.MTU > parent.MTU:
		return nil, fmt.Errorf("make %s: %w", spec, link.ErrMTU)
	}
	return parent, nil
}

func (k *Kernel) ensureNew(spec link.Spec) (link.Made, error) {
	parent, err := k.parent(spec)
	if err != nil {
		return link.Made{}, err
	}
	if there := k.tagged(spec); there != nil {
		return found(there), nil
	}
	if !slices.Contains(k.host.kinds, spec.Kind) {
		return link.Made{}, k.Supports(context.Background(), spec.Kind)
	}
	if forContainer(spec) {
		k.makeWay(spec)
		if err := k.judge(spec, parent); err != nil {
			return link.Made{}, err
		}
	}
	e := &entry{
		Interface: link.Interface{
			Name: spec.Name, Kind: string(spec.Kind), Parent: spec.Parent, VLAN: spec.VLAN,
			MTU: mtu(spec, parent, 1500), Up: spec.Kind == link.Dummy || spec.Kind == link.VLAN && parent.Up || spec.Shim,
		},
		mode: spec.Mode, flag: spec.Flag, mac: spec.MAC, driver: k.driver, owner: spec.Owner, shim: spec.Shim, away: link.Current,
	}
	if spec.Kind == link.Ipvlan {
		e.mac = parent.mac
	}
	k.host.put(e)
	return link.Made{Name: e.Name, Index: e.Index, Created: true}, nil
}

// makeWay removes the shims of this driver that a link cannot be made beside.
func (k *Kernel) makeWay(spec link.Spec) {
	for _, e := range k.host.children(spec.Parent) {
		if e.shim && e.driver == k.driver && e.Name != spec.Name && link.Beside(spec, k.spec(e)) != "" {
			k.host.drop(e.Name)
		}
	}
}

func (k *Kernel) tagged(spec link.Spec) *entry {
	for _, e := range k.host.children(spec.Parent) {
		if spec.Kind == link.VLAN && e.Kind == string(link.VLAN) && e.VLAN == spec.VLAN {
			return e
		}
	}
	return nil
}

// judge refuses what the kernel refuses. Like it, it sees links that were
// moved away, except where only another ipvlan mode is in question: that one
// the kernel takes, and changes the running links.
func (k *Kernel) judge(spec link.Spec, parent *entry) error {
	if parent.Master != "" {
		return &link.ConflictError{Want: spec, Err: link.ErrParentBusy}
	}
	if err := link.Judge(spec, k.usages(spec.Parent, link.Current)); err != nil {
		return err
	}
	for _, e := range k.host.children(spec.Parent) {
		if e.Kind == string(link.Ipvlan) && spec.Kind == link.Ipvlan {
			e.mode, e.flag = spec.Mode, spec.Flag
			continue
		}
		if e.Kind != string(link.Macvlan) && e.Kind != string(link.Ipvlan) {
			continue // VLAN links of the parent are in nobody's way
		}
		if err := link.Judge(spec, []link.Usage{k.usage(e, e.away)}); err != nil {
			return err
		}
	}
	return nil
}
