package driver

import (
	"context"
	"errors"
	"slices"

	"gvlan/driver/link"
	"gvlan/parentfile"
)

// errGiven: VLAN links that others made are theirs to make again.
var errGiven = errors.New("somebody else had made this VLAN link and it is gone: gvlan makes again only what it made")

// resolve is parentfile.Resolve without the candidates whose VLAN link others
// had made: a host's network manager makes those, perhaps later.
func (p *parents) resolve(list parentfile.List, have []parentfile.Interface, n hostNetwork) (parentfile.Choice, error) {
	var passed []parentfile.Tried
	for {
		choice, err := parentfile.Resolve(list, have, string(n.Options.Kind))
		var none *parentfile.NoParentError
		if errors.As(err, &none) {
			none.Node = p.node
			none.Tried = append(passed, none.Tried...)
		}
		if err != nil || !n.wasGiven(choice) {
			return choice, err
		}
		passed = append(passed, parentfile.Tried{Candidate: choice.Candidate, Err: errGiven})
		list.Candidates = slices.DeleteFunc(slices.Clone(list.Candidates), func(c parentfile.Candidate) bool { return c.Text == choice.Candidate })
		if list.Empty() {
			return parentfile.Choice{}, &parentfile.NoParentError{Node: p.node, Tried: passed}
		}
	}
}

// wasGiven tells whether a choice asks for a VLAN link that others had made.
func (n hostNetwork) wasGiven(choice parentfile.Choice) bool {
	return slices.ContainsFunc(link.VLANs(choice.Interface.Name, choice.VLANs, ""), func(s link.Spec) bool {
		return slices.Contains(n.Given, s.Name)
	})
}

// take notes which links of a parent may be ours and which are not, and tells
// whether that was news.
func (n *hostNetwork) take(p parent) bool {
	had := len(n.Links) + len(n.Given)
	n.Links = merge(n.Links, p.Made)
	if p.Given != "" {
		n.Given = merge(n.Given, []string{p.Given})
	}
	return len(n.Links)+len(n.Given) > had
}

// given is what a VLAN link that is not ours would be called if we had made
// it; "" for anything else.
func (p *parents) given(ctx context.Context, i parentfile.Interface) (string, error) {
	if i.Kind != string(link.VLAN) || i.VLAN == 0 {
		return "", nil
	}
	owned, err := p.links.Owned(ctx)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(owned, func(l link.Link) bool { return l.Name == i.Name }) {
		return "", nil
	}
	return link.VLANName(i.Parent, i.VLAN), nil
}
