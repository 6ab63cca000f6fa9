package dns

import (
	"slices"
	"strings"
)

// Names that fold alike are one entry of a table, and its members answer for
// one another: `db_1` is found as `db-1`, which is what some clients insist on.
// Where several spellings of it are in use, who has the one that was asked for
// comes first, and the others answer for what nobody has.

// spells tells whether a name of the member's was given exactly so.
func (m *member) spells(name string) bool {
	if m.spelled == nil {
		return slices.Contains(m.names, name)
	}
	return slices.Contains(m.spelled, name)
}

// spelling is how the member spells a folded name, to compare members by.
func (m *member) spelling(folded string) string {
	if m.spelled == nil {
		return folded
	}
	return strings.Join(m.spellings(folded), " ")
}

// spellings are the ways in which the member spells a folded name.
func (m *member) spellings(folded string) (ways []string) {
	for _, name := range m.spelled {
		if as, _ := FoldName(name); as == folded && !slices.Contains(ways, name) {
			ways = append(ways, name)
		}
	}
	if len(ways) == 0 {
		return []string{folded}
	}
	slices.Sort(ways)
	return ways
}

// exact keeps of a name found those members that spell it as the question
// does, if there are any. The question's name is folded byte for byte, so what
// was found is at the same place in it.
func (f found) exact(question string) found {
	from, to := int(f.at), int(f.at)+int(f.size)
	if !f.mixed || to > len(question) {
		return f
	}
	name := question[from:to]
	var exact []*member
	for _, m := range f.members {
		if m.spells(name) {
			exact = append(exact, m)
		}
	}
	if len(exact) > 0 {
		f.members = exact
	}
	return f
}

// own is the name a member is pointed to by: spelled as it was given where
// another container would answer for the folded form.
func (m *member) own(net *network) string {
	if m.spelled != nil {
		if e := net.names.get([]byte(m.names[0])); e != nil && e.mixed {
			return m.spelled[0]
		}
	}
	return m.names[0]
}
