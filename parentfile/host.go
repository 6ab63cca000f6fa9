package parentfile

import "fmt"

// HostTable is this host's answer to `-o parent=@host`: a parent list for a
// network by its name, else Default. Both hold what `-o parent=` may hold,
// without @host.
type HostTable struct {
	Default  string            // "" when the host names no default
	Networks map[string]string // network name to parent list
}

// Lookup gives the list for network. It wraps ErrNoHostParent when the table
// has neither the network nor a default.
func (t HostTable) Lookup(network string) (List, error) {
	text, named := t.Networks[network]
	if !named {
		text = t.Default
	}
	list, err := Parse(text)
	if err != nil {
		return List{}, fmt.Errorf("read this host's parent for network %q: %w", network, err)
	}
	if list.Empty() {
		return List{}, &refusal{ErrNoHostParent, fmt.Sprintf("this host's agent configuration names no parent for network %q and no default", network)}
	}
	if list.NeedsHost() {
		return List{}, &refusal{ErrNoHostParent, fmt.Sprintf("this host's agent configuration answers @host with @host for network %q: name an interface there", network)}
	}
	return list, nil
}

// NeedsHost reports whether the list holds @host, so that ForHost is needed
// before Resolve.
func (l List) NeedsHost() bool {
	for _, c := range l.Candidates {
		if c.Form == Host {
			return true
		}
	}
	return false
}

// ForHost puts this host's own list in the place of every @host. Where the
// table has nothing and the list has other candidates, the @host stays and
// Resolve reports it as not usable; alone, the error wraps ErrNoHostParent.
func (l List) ForHost(t HostTable, network string) (List, error) {
	if !l.NeedsHost() {
		return l, nil
	}
	own, err := t.Lookup(network)
	if err != nil {
		if len(l.Candidates) > 1 {
			return l, nil
		}
		return List{}, err
	}
	out := List{Exclude: append(append([]string(nil), l.Exclude...), own.Exclude...), Old: append(append([]string(nil), l.Old...), own.Old...)}
	for _, c := range l.Candidates {
		if c.Form == Host {
			out.Candidates = append(out.Candidates, own.Candidates...)
			continue
		}
		out.Candidates = append(out.Candidates, c)
	}
	return out, nil
}
