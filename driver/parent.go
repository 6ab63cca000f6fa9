package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"gvlan/driver/link"
	"gvlan/parentfile"
)

// Links is the kernel's links as the driver needs them; *link.Kernel is one.
type Links interface {
	// Ensure makes a link so.
	Ensure(ctx context.Context, spec link.Spec) (link.Made, error)
	// EnsureVLANs makes nested VLAN links on a master and gives the innermost.
	EnsureVLANs(ctx context.Context, master string, vids []int, owner string) (link.Made, error)
	// Remove deletes a link of ours; an absent one is success, a foreign
	// one link.ErrForeign.
	Remove(ctx context.Context, name string) error
	// RemoveStale deletes links of ours on a parent that hold a MAC or
	// address and that no live endpoint owns.
	RemoveStale(ctx context.Context, parent string, mac net.HardwareAddr, addr netip.Addr, live func(name, owner string) bool) ([]string, error)
	// Supports is nil, or says which kernel module a kind of link needs.
	Supports(ctx context.Context, kind link.Kind) error
	// Read gives a link of this host.
	Read(ctx context.Context, name string) (link.Link, error)
	// Interfaces lists what this host has.
	Interfaces(ctx context.Context) ([]link.Interface, error)
	// Owned lists the links that carry this driver's mark.
	Owned(ctx context.Context) ([]link.Link, error)
	// InUse lists the container links that hang from a parent, also in the
	// namespaces with the descriptors elsewhere.
	InUse(ctx context.Context, parent string, elsewhere ...int) ([]link.Usage, error)
	// Watch tells of links that come, go or change, until ctx ends.
	Watch(ctx context.Context, changed func(link.Event)) error
}

// parents chooses and makes what networks hang from on this host.
type parents struct {
	links  Links
	hosts  parentfile.HostTable
	onHost func(path string) string
	driver string
	node   string
	log    *slog.Logger

	// mu is held while the VLAN links and dummies of a network are made or
	// released, until the journal says the same: a network that goes must not
	// have them made again by somebody who still thought it was there.
	mu sync.Mutex
}

// parent is a link that containers can hang from.
type parent struct {
	Name   string   // of the link
	Made   []string // VLAN and dummy links below or at it that may be ours, outermost tag first
	Given  string   // the VLAN link that somebody else made, by the name it would have from us; "" for none
	Chosen string   // the candidates it was chosen from; "" for a dummy
}

// prepare makes the VLAN link or dummy of a network where this host can, so
// that it is there when `network create` returns. A list that nothing here
// matches is no error: another host may match it, and Join tries again. With
// lenient set neither is a parent that can never do, nor a parent file that
// cannot be read. The network's warnings tell them.
func (p *parents) prepare(ctx context.Context, n *hostNetwork, lenient bool) error {
	found, err := p.ensure(ctx, *n)
	var none *parentfile.NoParentError
	var file *parentfile.FileError
	badFile := errors.As(err, &file)
	switch {
	case (unsuitable(err) || badFile) && !lenient:
		return err
	case badFile, errors.As(err, &none), errors.Is(err, parentfile.ErrNoHostParent):
		return nil
	case err != nil:
		return err
	}
	n.take(found)
	return nil
}

// unsuitable tells a parent that can never carry the network (the loopback, a
// port of a bond or bridge, a wireless card for macvlan, no possible VLAN)
// from one that is not there yet.
func unsuitable(err error) bool {
	var none *parentfile.NoParentError
	return errors.As(err, &none) && none.Refused()
}

// ensure chooses the network's parent as things are now and makes what has to
// be made.
func (p *parents) ensure(ctx context.Context, n hostNetwork) (parent, error) {
	if n.isolated() {
		return p.ensureDummy(ctx, n)
	}
	choice, text, err := p.choose(ctx, n)
	if err != nil {
		return parent{}, err
	}
	for _, w := range choice.Warnings {
		p.log.Warn(w, "network", n.title())
	}
	got, err := p.links.EnsureVLANs(ctx, choice.Interface.Name, choice.VLANs, n.UUID)
	if err != nil {
		return parent{}, fmt.Errorf("make the parent of network %s on node %s: %w", n.title(), p.node, err)
	}
	given, err := p.given(ctx, choice.Interface)
	if err != nil {
		return parent{}, err
	}
	return parent{Name: got.Name, Chosen: text, Made: chain(choice, got), Given: given}, nil
}

// parentName is what the parent of a choice is called, made or not.
func parentName(choice parentfile.Choice) string {
	specs := link.VLANs(choice.Interface.Name, choice.VLANs, "")
	if len(specs) == 0 {
		return choice.Interface.Name
	}
	return specs[len(specs)-1].Name
}

// chain lists the VLAN links from the chosen interface down to the parent: an
// existing one may be ours and has one more user now. Whether it is ours is
// settled by its mark when it is removed.
func chain(choice parentfile.Choice, got link.Made) []string {
	var names []string
	if choice.Interface.Kind == string(link.VLAN) {
		names = append(names, choice.Interface.Name)
	}
	for _, spec := range link.VLANs(choice.Interface.Name, choice.VLANs, "") {
		names = append(names, spec.Name)
	}
	if len(choice.VLANs) > 0 {
		names[len(names)-1] = got.Name
	}
	return names
}

// ensureDummy makes the dummy of a network without a way out.
func (p *parents) ensureDummy(ctx context.Context, n hostNetwork) (parent, error) {
	spec := link.Spec{Name: link.DummyName(n.ID), Kind: link.Dummy, Owner: n.UUID, MTU: n.Options.MTU}
	if _, err := p.links.Ensure(ctx, spec); err != nil {
		return parent{}, fmt.Errorf("make the dummy of network %s on node %s: %w", n.title(), p.node, err)
	}
	return parent{Name: spec.Name, Made: []string{spec.Name}}, nil
}

// choose resolves the network's candidates against this host. The text
// returned is what it was chosen from: the same text keeps a running
// network on its parent, another moves its new containers.
func (p *parents) choose(ctx context.Context, n hostNetwork) (parentfile.Choice, string, error) {
	have, err := p.inventory(ctx)
	if err != nil {
		return parentfile.Choice{}, "", err
	}
	return p.chooseFrom(have, n)
}

// chooseFrom is choose among interfaces that were listed: a host with a
// thousand networks lists them once for all of them.
func (p *parents) chooseFrom(have []parentfile.Interface, n hostNetwork) (parentfile.Choice, string, error) {
	list, err := p.candidates(n)
	if err != nil {
		return parentfile.Choice{}, "", err
	}
	choice, err := p.resolve(list, have, n)
	return choice, list.String(), err
}

// candidates is the list that counts on this host now.
func (p *parents) candidates(n hostNetwork) (parentfile.List, error) {
	text := n.Options.Parent
	if n.Overrides.Parent != nil {
		text = *n.Overrides.Parent
	} else if n.Options.ParentFile != "" {
		return p.fromFile(n)
	}
	list, err := parentfile.Parse(text)
	if err != nil || !list.NeedsHost() {
		return list, err
	}
	return list.ForHost(p.hosts, n.Name)
}

func (p *parents) fromFile(n hostNetwork) (parentfile.List, error) {
	file, err := parentfile.Load(p.onHost(n.Options.ParentFile))
	if err == nil {
		var list parentfile.List
		if list, err = file.List(string(n.Options.Kind)); err == nil {
			return list, nil
		}
	}
	var bad *parentfile.FileError
	if errors.As(err, &bad) {
		bad.Node, bad.Path = p.node, n.Options.ParentFile
	}
	return parentfile.List{}, err
}

// inventory is this host's interfaces as parentfile sees them.
func (p *parents) inventory(ctx context.Context) ([]parentfile.Interface, error) {
	all, err := p.links.Interfaces(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the interfaces of node %s: %w", p.node, err)
	}
	have := make([]parentfile.Interface, 0, len(all))
	for _, i := range all {
		have = append(have, parentfile.Interface(i))
	}
	return have, nil
}

// merge adds what is new, keeping order.
func merge(have, more []string) []string {
	for _, m := range more {
		if !slices.Contains(have, m) {
			have = append(slices.Clip(have), m) // another copy of the network may share the rest
		}
	}
	return have
}
