package parentfile

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"unicode"
)

const (
	hostWord         = "@host"
	defaultRouteWord = "default-route"
	subnetWord       = "subnet:"
	maxNameLen       = 127 // ALTIFNAMSIZ-1; kernel names proper end at 15
)

// Form says how a candidate names its interface.
type Form int

// The forms of a candidate.
const (
	Named        Form = iota // a name, perhaps with VLAN ids behind it
	Glob                     // a shell pattern, perhaps with VLAN ids behind it
	DefaultRoute             // whatever holds the default route
	Subnet                   // whatever has an address in Prefix
	Host                     // this host's agent configuration
)

// Candidate is one item of a parent list.
type Candidate struct {
	Text   string       // as the user wrote it
	Form   Form         //
	Name   string       // Named, Glob: name or pattern in the form name.vid; DefaultRoute: ".vid" or ""
	Prefix netip.Prefix // Subnet only, masked
}

// List is a parsed `-o parent=`: candidates in order of preference and names
// or globs that are excluded wherever they stand.
type List struct {
	Candidates []Candidate
	Exclude    []string
	Old        []string // items in a spelling of the oldest guide, for one log line
	// Filed is set for a list from a parent file: no error repeats its words.
	Filed bool
}

// itemError is what is wrong with an item of a list.
type itemError struct {
	what, item string
	why        error
}

// Error quotes the item.
func (e *itemError) Error() string {
	return fmt.Sprintf("parse parent %s %q: %v", e.what, e.item, e.why)
}

// Unwrap gives what is wrong without the item.
func (e *itemError) Unwrap() error { return e.why }

// Parse reads a parent list. Items are separated by commas, white space or
// both; empty items are ignored, so the empty string and lone commas give an
// empty List. It fails on an item that can name an interface on no host; the
// error quotes the item and says what would be right.
func Parse(s string) (List, error) {
	var l List
	for _, item := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		if err := l.add(item); err != nil {
			return List{}, err
		}
	}
	if len(l.Candidates) == 0 && len(l.Exclude) > 0 {
		return List{}, &itemError{"list", s, fmt.Errorf("it only excludes interfaces, name one to use as well, for example \"en*,!%s\"", l.Exclude[0])}
	}
	return l, nil
}

// Empty reports whether the list names no candidate: no parent was passed.
func (l List) Empty() bool { return len(l.Candidates) == 0 }

// String gives the list in one canonical spelling that Parse reads back.
func (l List) String() string {
	items := make([]string, 0, len(l.Candidates)+len(l.Exclude))
	for _, c := range l.Candidates {
		items = append(items, c.String())
	}
	for _, e := range l.Exclude {
		items = append(items, "!"+e)
	}
	return strings.Join(items, ",")
}

// String gives the candidate in its canonical spelling.
func (c Candidate) String() string {
	switch c.Form {
	case DefaultRoute:
		return defaultRouteWord + c.Name
	case Subnet:
		return subnetWord + c.Prefix.String()
	case Host:
		return hostWord
	default:
		return c.Name
	}
}

func (l *List) add(item string) error {
	if pattern, ok := strings.CutPrefix(item, "!"); ok {
		if err := checkName(pattern); err != nil {
			return &itemError{"exclusion", item, err}
		}
		l.Exclude = append(l.Exclude, pattern)
		return nil
	}
	c, err := parseCandidate(item)
	if err != nil {
		return &itemError{"candidate", item, err}
	}
	if c.Form != Subnet && strings.Contains(item, ":") {
		l.Old = append(l.Old, item)
	}
	l.Candidates = append(l.Candidates, c)
	return nil
}

func parseCandidate(item string) (Candidate, error) {
	c := Candidate{Text: item}
	if item == hostWord {
		c.Form = Host
		return c, nil
	}
	if text, ok := strings.CutPrefix(item, subnetWord); ok {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return Candidate{}, errors.New("a subnet looks like subnet:192.168.1.0/24 or subnet:fd00::/64")
		}
		c.Form, c.Prefix = Subnet, p.Masked()
		return c, nil
	}
	c.Name = oldVLAN(item)
	if rest, ok := strings.CutPrefix(c.Name, defaultRouteWord); ok && (rest == "" || rest[0] == '.') {
		return defaultRouteCandidate(c, rest)
	}
	if err := checkName(c.Name); err != nil {
		return Candidate{}, err
	}
	if isGlob(c.Name) {
		c.Form = Glob
	}
	return c, nil
}

func defaultRouteCandidate(c Candidate, rest string) (Candidate, error) {
	if base, _, err := splitVLANs(rest); err != nil || base != "" {
		return Candidate{}, errors.New("after default-route only VLAN ids may follow, as in default-route.65, each 1-4094")
	}
	c.Form, c.Name = DefaultRoute, rest
	return c, nil
}

// oldVLAN turns the oldest guide's eth0:10 into eth0.10.
func oldVLAN(item string) string {
	base, vid, ok := strings.Cut(item, ":")
	if ok && base != "" && allDigits(vid) {
		return base + "." + vid
	}
	return item
}

func isGlob(s string) bool { return strings.ContainsAny(s, `*?[\`) }

// checkName refuses what the kernel's dev_valid_name would refuse on any host.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("an interface name is missing")
	case name == "." || name == "..":
		return errors.New("this cannot be an interface name")
	case len(name) > maxNameLen:
		return fmt.Errorf("an interface name has at most %d characters", maxNameLen)
	case strings.ContainsAny(name, "/:!@\x00"):
		return errors.New("an interface name has none of the characters / : ! @; a VLAN is written eth0.65")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return errors.New("an interface name has no control characters")
		}
	}
	if _, err := path.Match(name, ""); err != nil {
		return errors.New("a glob looks like en* or eth[01]")
	}
	return nil
}
