package link

import "strings"

// unfinished is the interface group (IFLA_GROUP) of a link between its making
// and its mark. The kernel takes a group in the very message that makes a
// link, but an alias only after it: an agent that dies between the two leaves
// a link that the next one knows by this number. It is "gvln" in ASCII.
const unfinished = 0x67766c6e

const markPrefix = "gvlan:"

// mark is the content of a link's alias (IFLA_IFALIAS, at most 255 bytes):
// gvlan:<driver>:<kind>:<owner>. It stays when the link is renamed or moved
// to another namespace, and when the agent ends.
type mark struct {
	driver string // may hold colons: "gvlan-swarm:latest"
	kind   Kind
	owner  string
}

func (m mark) String() string {
	return markPrefix + m.driver + ":" + string(m.kind) + ":" + m.owner
}

func parseMark(alias string) (mark, bool) {
	rest, ok := strings.CutPrefix(alias, markPrefix)
	if !ok {
		return mark{}, false
	}
	last := strings.LastIndexByte(rest, ':')
	if last < 0 {
		return mark{}, false
	}
	middle := strings.LastIndexByte(rest[:last], ':')
	if middle < 0 {
		return mark{}, false
	}
	return mark{driver: rest[:middle], kind: Kind(rest[middle+1 : last]), owner: rest[last+1:]}, true
}
