// Package parent chooses what each network's containers hang from on this host,
// makes the VLAN links and dummies in between, and takes them away with the last
// network that used them. All of it is methods of Parents; which links may share
// a parent is link.Beside's to say.
//
//	parent.go  from a list of candidates to a link that is there
//	judge.go   who may start beside whom, and what a user should know
//	sweep.go   links made again, released, and left by a crash
//
// See DESIGN.md in this folder.
package parent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/netns"
	"gvlan/driver/trouble"
	"gvlan/parentfile"
)

// Links is the kernel's links as parents need them; *link.Kernel is one.
type Links interface {
	// Ensure makes a link so.
	Ensure(ctx context.Context, spec link.Spec) (link.Made, error)
	// EnsureVLANs makes nested VLAN links on a master and gives the innermost.
	EnsureVLANs(ctx context.Context, master string, vids []int, owner string) (link.Made, error)
	// Remove deletes a link of ours; an absent one is success, a foreign
	// one link.ErrForeign.
	Remove(ctx context.Context, name string) error
	// Supports is nil, or says which kernel module a kind of link needs.
	Supports(ctx context.Context, kind link.Kind) error
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

// State is this host's networks and endpoints, as far as parents need them.
type State interface {
	Network(id string) (journal.Network, bool)
	Networks() []journal.Network
	ChangeNetwork(id string, change func(*journal.Network)) error
	Endpoint(id string) (journal.Endpoint, bool)
	Endpoints() []journal.Endpoint
	EndpointsOf(network string) []journal.Endpoint
}

// Config is what Parents are made of; every field is needed.
type Config struct {
	State     State
	Links     Links
	Elsewhere func() ([]*netns.Namespace, error) // opens this host's other network namespaces
	Hosts     parentfile.HostTable
	OnHost    func(path string) string // a path of the host as this agent sees it
	Node      string                   // what messages call this node
	Troubles  *trouble.Book
	Log       *slog.Logger
}

// Parents chooses, makes and sweeps what networks hang from on this host.
type Parents struct {
	cfg Config

	// mu is held while the VLAN links and dummies of a network are made or
	// released, until the journal says the same: a network that goes must not
	// have them made again by somebody who still thought it was there.
	mu sync.Mutex
}

// New makes nothing yet.
func New(cfg Config) *Parents { return &Parents{cfg: cfg} }

// Lock keeps everybody else from making and releasing links: a network is
// journaled, or forgotten, before Unlock.
func (p *Parents) Lock() { p.mu.Lock() }

// Unlock ends what Lock began.
func (p *Parents) Unlock() { p.mu.Unlock() }

// Parent is a link that containers can hang from.
type Parent struct {
	Name   string   // of the link
	Made   []string // VLAN and dummy links below or at it that may be ours, outermost tag first
	Given  string   // the VLAN link that somebody else made, by the name it would have from us; "" for none
	Chosen string   // the candidates it was chosen from; "" for a dummy
}

// Prepare makes the VLAN link or dummy of a network where this host can, so
// that it is there when `network create` returns. A list that nothing here
// matches is no error: another host may match it, and Join tries again. With
// lenient set neither is a parent that can never do, nor a parent file that
// cannot be read. The network's warnings tell them.
func (p *Parents) Prepare(ctx context.Context, n *journal.Network, lenient bool) error {
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
	take(n, found)
	return nil
}

// For is the parent of a new endpoint: while endpoints use one and the
// candidates are the same, that one, so that a network stays on one parent;
// else what the candidates say now.
func (p *Parents) For(ctx context.Context, n journal.Network, e journal.Endpoint) (Parent, error) {
	found, err := p.Ensure(ctx, n)
	if err != nil {
		return Parent{}, err
	}
	for _, other := range p.cfg.State.EndpointsOf(n.ID) {
		if other.ID == e.ID || other.Link == "" || other.Parent == found.Name {
			continue
		}
		if other.Chosen == found.Chosen && p.exists(ctx, other.Parent) {
			return Parent{Name: other.Parent, Chosen: other.Chosen}, nil
		}
		p.cfg.Log.Info("new containers of the network use another parent now",
			"network", n.Title(), "parent", found.Name, "before", other.Parent)
		break
	}
	return found, nil
}

// Standing is what the network's next container would hang from, as far as that is
// there: nothing is made.
func (p *Parents) Standing(ctx context.Context, n journal.Network) (name string, err error) {
	have, err := p.Inventory(ctx)
	if err != nil {
		return "", err
	}
	return p.StandingIn(have, n)
}

// StandingIn is Standing among interfaces that were listed.
func (p *Parents) StandingIn(have []parentfile.Interface, n journal.Network) (name string, err error) {
	choice, text, err := p.ChooseFrom(have, n)
	if err != nil {
		return "", err
	}
	there := func(name string) bool {
		return slices.ContainsFunc(have, func(i parentfile.Interface) bool { return i.Name == name })
	}
	for _, e := range p.cfg.State.EndpointsOf(n.ID) {
		if e.Link != "" && e.Chosen == text && there(e.Parent) {
			return e.Parent, nil
		}
	}
	if name = Name(choice); !there(name) {
		return "", fmt.Errorf("parent %s of network %s is not there yet on node %s", name, n.Title(), p.cfg.Node)
	}
	return name, nil
}

// Ensure makes what the network hangs from now, and journals it.
func (p *Parents) Ensure(ctx context.Context, n journal.Network) (Parent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, err := p.ensure(ctx, n)
	if err != nil || !take(&n, found) {
		return found, err
	}
	return found, p.cfg.State.ChangeNetwork(n.ID, func(n *journal.Network) { take(n, found) })
}

func (p *Parents) exists(ctx context.Context, name string) bool {
	have, err := p.Inventory(ctx)
	if err != nil {
		return false
	}
	for _, i := range have {
		if i.Name == name {
			return true
		}
	}
	return false
}

// unsuitable reports whether a parent can never carry the network (the loopback,
// a port of a bond or bridge, a wireless card for macvlan, no possible VLAN): it
// is not just absent.
func unsuitable(err error) bool {
	var none *parentfile.NoParentError
	return errors.As(err, &none) && none.Refused()
}

// ensure chooses the network's parent as things are now and makes what has to
// be made.
func (p *Parents) ensure(ctx context.Context, n journal.Network) (Parent, error) {
	if n.Isolated() {
		return p.ensureDummy(ctx, n)
	}
	choice, text, err := p.choose(ctx, n)
	if err != nil {
		return Parent{}, err
	}
	for _, w := range choice.Warnings {
		p.cfg.Log.Warn(w, "network", n.Title())
	}
	got, err := p.cfg.Links.EnsureVLANs(ctx, choice.Interface.Name, choice.VLANs, n.UUID)
	if err != nil {
		return Parent{}, fmt.Errorf("make the parent of network %s on node %s: %w", n.Title(), p.cfg.Node, err)
	}
	given, err := p.given(ctx, choice.Interface)
	if err != nil {
		return Parent{}, err
	}
	return Parent{Name: got.Name, Chosen: text, Made: chain(choice, got), Given: given}, nil
}

// Name is what the parent of a choice is called, made or not.
func Name(choice parentfile.Choice) string {
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
func (p *Parents) ensureDummy(ctx context.Context, n journal.Network) (Parent, error) {
	spec := link.Spec{Name: link.DummyName(n.ID), Kind: link.Dummy, Owner: n.UUID, MTU: n.Options.MTU}
	if _, err := p.cfg.Links.Ensure(ctx, spec); err != nil {
		return Parent{}, fmt.Errorf("make the dummy of network %s on node %s: %w", n.Title(), p.cfg.Node, err)
	}
	return Parent{Name: spec.Name, Made: []string{spec.Name}}, nil
}

// choose resolves the network's candidates against this host. The text
// returned is what it was chosen from: the same text keeps a running
// network on its parent, another moves its new containers.
func (p *Parents) choose(ctx context.Context, n journal.Network) (parentfile.Choice, string, error) {
	have, err := p.Inventory(ctx)
	if err != nil {
		return parentfile.Choice{}, "", err
	}
	return p.ChooseFrom(have, n)
}

// ChooseFrom is choose among interfaces that were listed: a host with a
// thousand networks lists them once for all of them.
func (p *Parents) ChooseFrom(have []parentfile.Interface, n journal.Network) (parentfile.Choice, string, error) {
	list, err := p.candidates(n)
	if err != nil {
		return parentfile.Choice{}, "", err
	}
	choice, err := p.resolve(list, have, n)
	return choice, list.String(), err
}

// candidates is the list that counts on this host now.
func (p *Parents) candidates(n journal.Network) (parentfile.List, error) {
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
	return list.ForHost(p.cfg.Hosts, n.Name)
}

func (p *Parents) fromFile(n journal.Network) (parentfile.List, error) {
	file, err := parentfile.Load(p.cfg.OnHost(n.Options.ParentFile))
	if err == nil {
		var list parentfile.List
		if list, err = file.List(string(n.Options.Kind)); err == nil {
			return list, nil
		}
	}
	var bad *parentfile.FileError
	if errors.As(err, &bad) {
		bad.Node, bad.Path = p.cfg.Node, n.Options.ParentFile
	}
	return parentfile.List{}, err
}

// Inventory is this host's interfaces as parentfile sees them.
func (p *Parents) Inventory(ctx context.Context) ([]parentfile.Interface, error) {
	all, err := p.cfg.Links.Interfaces(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the interfaces of node %s: %w", p.cfg.Node, err)
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

// errGiven: VLAN links that others made are theirs to make again.
var errGiven = errors.New("somebody else had made this VLAN link and it is gone: gvlan makes again only what it made")

// resolve is parentfile.Resolve without the candidates whose VLAN link others
// had made: a host's network manager makes those, perhaps later.
func (p *Parents) resolve(list parentfile.List, have []parentfile.Interface, n journal.Network) (parentfile.Choice, error) {
	var passed []parentfile.Tried
	for {
		choice, err := parentfile.Resolve(list, have, string(n.Options.Kind))
		var none *parentfile.NoParentError
		if errors.As(err, &none) {
			none.Node = p.cfg.Node
			none.Tried = append(passed, none.Tried...)
		}
		if err != nil || !wasGiven(n, choice) {
			return choice, err
		}
		passed = append(passed, parentfile.Tried{Candidate: choice.Candidate, Err: errGiven})
		list.Candidates = slices.DeleteFunc(slices.Clone(list.Candidates), func(c parentfile.Candidate) bool { return c.Text == choice.Candidate })
		if list.Empty() {
			return parentfile.Choice{}, &parentfile.NoParentError{Node: p.cfg.Node, Tried: passed}
		}
	}
}

// wasGiven reports whether a choice asks for a VLAN link that others had made.
func wasGiven(n journal.Network, choice parentfile.Choice) bool {
	return slices.ContainsFunc(link.VLANs(choice.Interface.Name, choice.VLANs, ""), func(s link.Spec) bool {
		return slices.Contains(n.Given, s.Name)
	})
}

// take notes which links of a parent may be ours and which are not, and reports
// whether that was news.
func take(n *journal.Network, p Parent) bool {
	had := len(n.Links) + len(n.Given)
	n.Links = merge(n.Links, p.Made)
	if p.Given != "" {
		n.Given = merge(n.Given, []string{p.Given})
	}
	return len(n.Links)+len(n.Given) > had
}

// given is what a VLAN link that is not ours would be called if we had made
// it; "" for anything else.
func (p *Parents) given(ctx context.Context, i parentfile.Interface) (string, error) {
	if i.Kind != string(link.VLAN) || i.VLAN == 0 {
		return "", nil
	}
	owned, err := p.cfg.Links.Owned(ctx)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(owned, func(l link.Link) bool { return l.Name == i.Name }) {
		return "", nil
	}
	return link.VLANName(i.Parent, i.VLAN), nil
}
