package parentfile

import (
	"errors"
	"fmt"
	"strings"
)

// ErrEmpty is returned by Resolve for a list without candidates: the user
// passed no parent.
var ErrEmpty = errors.New(`no parent interface was passed, use for example '-o parent="eth0,eth1,eth3"'`)

// Why a candidate was not usable. A NoParentError is each of the reasons its
// candidates failed for, in the sense of errors.Is.
var (
	// ErrNoInterface: nothing on this host has that name, address or route.
	ErrNoInterface = errors.New("no such interface")
	// ErrVLANRange: a VLAN id outside 1-4094, wrong on every host.
	ErrVLANRange = errors.New("vlan id out of range")
	// ErrLoopback: the interface is the loopback.
	ErrLoopback = errors.New("loopback interface")
	// ErrEnslaved: the interface is a port of a bond, bridge or team.
	ErrEnslaved = errors.New("interface is a port of another")
	// ErrWireless: an access point takes one MAC a station, which macvlan breaks.
	ErrWireless = errors.New("wireless interface")
	// ErrExcluded: the list itself excludes the interface.
	ErrExcluded = errors.New("interface is excluded by the list")
	// ErrNoHostParent: @host, and this host's configuration names none.
	ErrNoHostParent = errors.New("no parent in this host's configuration")
)

// refusal is one sentence for people that is a sentinel for errors.Is.
type refusal struct {
	sentinel error
	text     string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.sentinel }

// Tried is one candidate and why it was not usable.
type Tried struct {
	Candidate string // as the user wrote it
	Err       error  // wraps one of the sentinels above; its text is the reason and the cure
}

// NoParentError says that no candidate of a list is usable on this host.
type NoParentError struct {
	Node  string   // this host's node name; Resolve leaves it empty, the caller fills it in
	Tried []Tried  // in the order of the list
	Have  []string // interfaces of this host that could be named instead, with "(down)" where so
}

// Error gives the whole story in one line: the node, each candidate with its
// reason, and what the host has.
func (e *NoParentError) Error() string {
	var b strings.Builder
	b.WriteString("no usable parent interface on ")
	b.WriteString(nodeName(e.Node))
	for i, t := range e.Tried {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s (%v)", sep, t.Candidate, t.Err)
	}
	if len(e.Have) == 0 {
		b.WriteString("; this host has no interface that could be a parent")
		return b.String()
	}
	b.WriteString("; this host has " + strings.Join(e.Have, ", "))
	return b.String()
}

// Unwrap gives the reasons in the order of the list.
func (e *NoParentError) Unwrap() []error {
	errs := make([]error, len(e.Tried))
	for i, t := range e.Tried {
		errs[i] = t.Err
	}
	return errs
}

// Refused reports whether some candidate is wrong in itself, not just absent
// here: a create is then refused, where a list that merely matches nothing on
// this host is not.
func (e *NoParentError) Refused() bool {
	for _, sentinel := range []error{ErrVLANRange, ErrLoopback, ErrEnslaved, ErrWireless} {
		if errors.Is(e, sentinel) {
			return true
		}
	}
	return false
}

func nodeName(node string) string {
	if node == "" {
		return "this host"
	}
	return "node " + node
}
