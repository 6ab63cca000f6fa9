package parentfile

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Choice is the outcome of Resolve. With an empty VLANs, Interface is the
// parent itself and is used as it is. Otherwise Interface is the master, and
// the caller makes one VLAN link per id, each on the one before.
type Choice struct {
	Candidate string    // the item that won, as the user wrote it
	Interface Interface // an existing link
	VLANs     []int     // tags still to be made on it, outermost first
	Warnings  []string  // one sentence each; the choice is good all the same
}

// Resolve picks the first candidate of list that is usable for links of that
// kind (Macvlan or Ipvlan) among have. An existing link with exactly the
// candidate's name comes before any reading as master.vid, and a VLAN id that
// the master already carries under another name is used under that name.
//
// It returns ErrEmpty for an empty list and *NoParentError when nothing fits.
func Resolve(list List, have []Interface, kind string) (Choice, error) {
	if list.Empty() {
		return Choice{}, ErrEmpty
	}
	r := resolver{have: sortedByName(have), exclude: list.Exclude, kind: kind}
	failed := &NoParentError{Have: r.parents()}
	for _, c := range list.Candidates {
		choice, err := r.try(c)
		if err == nil {
			choice.Candidate = c.Text
			return choice, nil
		}
		if list.Filed {
			err = bare(err)
		}
		failed.Tried = append(failed.Tried, Tried{Candidate: c.Text, Err: err})
	}
	return Choice{}, failed
}

// bare is the kind of a refusal without its words, which name what the list
// says.
func bare(err error) error {
	for _, sentinel := range []error{ErrNoInterface, ErrVLANRange, ErrLoopback, ErrEnslaved, ErrWireless, ErrExcluded, ErrNoHostParent} {
		if errors.Is(err, sentinel) {
			return sentinel
		}
	}
	return errors.New("not usable")
}

type resolver struct {
	have    []Interface // by name, so that a glob always picks the same one
	exclude []string
	kind    string
}

func (r resolver) try(c Candidate) (Choice, error) {
	switch c.Form {
	case Glob:
		return r.glob(c.Name)
	case DefaultRoute:
		_, vids, err := splitVLANs(c.Name)
		if err != nil {
			return Choice{}, err
		}
		return r.first(vids, "this host has no default route", func(i Interface) bool { return i.DefaultRoute })
	case Subnet:
		why := fmt.Sprintf("no interface has an address in %s", c.Prefix)
		return r.first(nil, why, func(i Interface) bool { return i.inSubnet(c.Prefix) })
	case Host:
		return Choice{}, &refusal{ErrNoHostParent, "this host's agent configuration names no parent"}
	default:
		return r.named(c.Name)
	}
}

// named tries the whole name first and then, tag by tag, shorter masters, so
// that links with dots in their names are found and eth0.100.200 hangs from
// eth0.100 where that exists.
func (r resolver) named(name string) (Choice, error) {
	var vids []int
	for base := name; ; {
		if i, ok := r.lookup(base); ok {
			return r.hang(i, vids)
		}
		rest, vid, more, err := cutVLAN(base)
		if err != nil {
			return Choice{}, err
		}
		if !more {
			return Choice{}, missing(name, base)
		}
		base, vids = rest, append([]int{vid}, vids...)
	}
}

func missing(name, base string) error {
	if base != name {
		return &refusal{ErrNoInterface, "its master " + base + " does not exist"}
	}
	return &refusal{ErrNoInterface, "no such interface"}
}

// glob tries the pattern on whole names, then its part before the VLAN ids on
// masters.
func (r resolver) glob(pattern string) (Choice, error) {
	why := "it matches no interface"
	whole, err := r.first(nil, why, r.globbed(pattern))
	if err == nil {
		return whole, nil
	}
	base, vids, splitErr := splitVLANs(pattern)
	if splitErr != nil {
		return Choice{}, splitErr
	}
	if len(vids) == 0 {
		return Choice{}, err
	}
	return r.first(vids, why, r.globbed(base))
}

func (r resolver) globbed(pattern string) func(Interface) bool {
	return func(i Interface) bool { return !i.hangsContainers() && matches(pattern, i) }
}

// first hangs from the first interface that fits and is not refused. When all
// that fit are refused it gives the first refusal, which says more than why.
func (r resolver) first(vids []int, why string, fits func(Interface) bool) (Choice, error) {
	var refused error
	for _, i := range r.have {
		if !fits(i) {
			continue
		}
		choice, err := r.hang(i, vids)
		if err == nil {
			return choice, nil
		}
		if refused == nil {
			refused = err
		}
	}
	if refused != nil {
		return Choice{}, refused
	}
	return Choice{}, &refusal{ErrNoInterface, why}
}

// hang follows the tags that already exist on i, under whatever name, and
// leaves the rest to be made.
func (r resolver) hang(i Interface, vids []int) (Choice, error) {
	if err := r.check(i); err != nil {
		return Choice{}, err
	}
	for len(vids) > 0 {
		next, ok := r.tagged(i, vids[0])
		if !ok {
			break
		}
		if err := r.check(next); err != nil {
			return Choice{}, err
		}
		i, vids = next, vids[1:]
	}
	choice := Choice{Interface: i, VLANs: vids}
	if !i.Up {
		choice.Warnings = append(choice.Warnings, fmt.Sprintf("parent interface %s is down; containers reach nothing until it is up", i.Name))
	}
	return choice, nil
}

func (r resolver) tagged(master Interface, vid int) (Interface, bool) {
	at := slices.IndexFunc(r.have, func(i Interface) bool {
		return i.Parent == master.Name && i.VLAN == vid
	})
	if at < 0 {
		return Interface{}, false
	}
	return r.have[at], true
}

func (r resolver) lookup(name string) (Interface, bool) {
	at := slices.IndexFunc(r.have, func(i Interface) bool { return i.called(name) })
	if at < 0 {
		return Interface{}, false
	}
	return r.have[at], true
}

// check refuses what no container link may hang from, with reason and cure.
func (r resolver) check(i Interface) error {
	for _, pattern := range r.exclude {
		if matches(pattern, i) {
			return &refusal{ErrExcluded, fmt.Sprintf("%s is excluded by !%s", i.Name, pattern)}
		}
	}
	switch {
	case i.Loopback:
		return &refusal{ErrLoopback, i.Name + " is the loopback, which has no LAN behind it: name a network card, bond, bridge or VLAN"}
	case r.enslaved(i):
		return &refusal{ErrEnslaved, fmt.Sprintf("%s is a port of %s, which takes all its packets: name %s instead", i.Name, i.Master, i.Master)}
	case i.Wireless && r.kind == Macvlan:
		return &refusal{ErrWireless, i.Name + " is wireless and carries one MAC address only, which rules macvlan out: use -o kind=ipvlan"}
	}
	return nil
}

// enslaved is false for a VRF's port: a VRF leaves the receive handler free.
func (r resolver) enslaved(i Interface) bool {
	if i.Master == "" {
		return false
	}
	master, known := r.lookup(i.Master)
	return !known || master.Kind != "vrf"
}

// parents lists what could be named as a parent here, for the error.
func (r resolver) parents() []string {
	var names []string
	for _, i := range r.have {
		switch {
		case i.Loopback || i.hangsContainers() || r.enslaved(i):
		case i.Up:
			names = append(names, i.Name)
		default:
			names = append(names, i.Name+" (down)")
		}
	}
	return names
}

func matches(pattern string, i Interface) bool {
	for _, name := range append([]string{i.Name}, i.AltNames...) {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}

func sortedByName(have []Interface) []Interface {
	sorted := slices.Clone(have)
	slices.SortFunc(sorted, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	return sorted
}
