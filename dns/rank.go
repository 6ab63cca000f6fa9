package dns

// The ranks of nodes, in the order their containers are answered.
const (
	rankLocal uint8 = iota
	rankAlive
	rankSuspect
	rankDead
	rankCount
)

// judge ranks a node: this one first, whatever Rank says.
func (z *Zone) judge(node string) uint8 {
	if node == z.node {
		return rankLocal
	}
	if z.rank == nil {
		return rankAlive
	}
	return uint8(min(max(z.rank(node), 0)+int(rankAlive), int(rankDead)))
}

// turn walks members in the order they are answered: by the rank of their
// node, and among equals starting one further at each question, so that
// clients which take the first address spread over all of them. It does not
// allocate.
type turn struct {
	members []*member
	ranks   []uint8
	start   int
	rank    uint8
	i       int
}

// turns begins a walk; spin is any number that differs from question to
// question.
func (s *snapshot) turns(members []*member, spin uint32) turn {
	t := turn{members: members, ranks: s.ranks}
	if len(members) > 1 {
		t.start = int(spin % uint32(len(members)))
	}
	return t
}

// next returns the next member, or nil after the last.
func (t *turn) next() *member {
	for ; t.rank < rankCount; t.rank, t.i = t.rank+1, 0 {
		for t.i < len(t.members) {
			at := t.start + t.i
			if at >= len(t.members) {
				at -= len(t.members)
			}
			t.i++
			if m := t.members[at]; t.ranks[m.node] == t.rank {
				return m
			}
		}
	}
	return nil
}
