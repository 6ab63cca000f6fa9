package addrset

import (
	"sort"

	"github.com/tidwall/btree"
)

// sparse is positions as the members alone, in order: for prefixes of which
// any set can hold but a part.
type sparse struct{ members *btree.BTreeG[number] }

func newSparse() *sparse {
	return &sparse{btree.NewBTreeGOptions(number.less, btree.Options{NoLocks: true})}
}

func (s *sparse) len() int { return s.members.Len() }

func (s *sparse) has(n number) bool {
	_, ok := s.members.Get(n)
	return ok
}

func (s *sparse) add(n number) (changed bool) {
	_, replaced := s.members.Set(n)
	return !replaced
}

func (s *sparse) remove(n number) (changed bool) {
	_, changed = s.members.Delete(n)
	return changed
}

func (s *sparse) next(n number) (next number, found bool) {
	s.members.Ascend(n, func(m number) bool {
		next, found = m, true
		return false
	})
	return next, found
}

// fewMembers is up to how many numbers members are counted one by one: to look up
// how many are below each end takes as long.
const fewMembers = 256

func (s *sparse) count(from, to number) (members int) {
	if few := to.minus(from); few.hi == 0 && few.lo < fewMembers {
		s.members.Ascend(from, func(m number) bool {
			if to.less(m) {
				return false
			}
			members++
			return true
		})
		return members
	}
	members = s.below(to) - s.below(from)
	if s.has(to) {
		members++
	}
	return members
}

func (s *sparse) member(i int) number {
	n, _ := s.members.GetAt(i)
	return n
}

func (s *sparse) below(n number) int {
	if n == (number{}) {
		return 0
	}
	return sort.Search(s.members.Len(), func(i int) bool { return !s.member(i).less(n) })
}

// Of the members' distances from zero, those that are free below member i are
// its own less i, which never falls as i grows.
func (s *sparse) free(k number) number {
	lower := sort.Search(s.members.Len(), func(i int) bool {
		return k.less(s.member(i).minus(number{0, uint64(i)}))
	})
	return k.plus(number{0, uint64(lower)})
}
