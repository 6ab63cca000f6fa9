package addrset

import "math/bits"

const (
	wordBits  = 64
	pageWords = 64
	pageBits  = pageWords * wordBits
	// A chapter's pages are as many as a page's words, so that a search looks at
	// 64 entries of each level at most, of the 2^24 addresses of a /8.
	chapterPages = 64
)

// page is the bits of so many addresses: set for those in the set.
type page [pageWords]uint64

// bitmap is positions as one bit each, with the number of members of each page
// and chapter. A page that never had a member is nil.
type bitmap struct {
	members  int
	pages    []*page
	inPage   []uint16 // by page; 4,096 fit
	chapters []uint32 // by chapter
}

// newBitmap holds so many positions.
func newBitmap(size int) *bitmap {
	pages := (size + pageBits - 1) / pageBits
	return &bitmap{
		pages:    make([]*page, pages),
		inPage:   make([]uint16, pages),
		chapters: make([]uint32, (pages+chapterPages-1)/chapterPages),
	}
}

// at is where a position's bit is.
func at(n number) (inPages, word int, bit uint64) {
	i := int(n.lo)
	return i / pageBits, i % pageBits / wordBits, 1 << (i % wordBits)
}

func (b *bitmap) len() int { return b.members }

func (b *bitmap) has(n number) bool {
	i, word, bit := at(n)
	return b.pages[i] != nil && b.pages[i][word]&bit != 0
}

func (b *bitmap) add(n number) (changed bool) {
	if b.has(n) {
		return false
	}
	i, word, bit := at(n)
	if b.pages[i] == nil {
		b.pages[i] = new(page)
	}
	b.pages[i][word] |= bit
	b.inPage[i]++
	b.chapters[i/chapterPages]++
	b.members++
	return true
}

func (b *bitmap) remove(n number) (changed bool) {
	if !b.has(n) {
		return false
	}
	i, word, bit := at(n)
	b.pages[i][word] &^= bit
	b.inPage[i]--
	b.chapters[i/chapterPages]--
	b.members--
	return true
}

func (b *bitmap) next(n number) (number, bool) {
	i, word, bit := at(n)
	for i < len(b.pages) {
		if i%chapterPages == 0 && b.chapters[i/chapterPages] == 0 {
			i, word, bit = i+chapterPages, 0, 1
			continue
		}
		for b.pages[i] != nil && word < pageWords {
			if w := b.pages[i][word] &^ (bit - 1); w != 0 {
				return number{0, uint64(i*pageBits + word*wordBits + bits.TrailingZeros64(w))}, true
			}
			word, bit = word+1, 1
		}
		i, word, bit = i+1, 0, 1
	}
	return number{}, false
}

// count looks at the bits alone where they are of one page: to count those of few
// addresses costs as little as they are.
func (b *bitmap) count(from, to number) int {
	i, word, bit := at(from)
	j, lastWord, lastBit := at(to)
	through := lastBit | (lastBit - 1)
	switch {
	case i != j:
		members := b.below(to) - b.below(from)
		if b.has(to) {
			members++
		}
		return members
	case b.pages[i] == nil:
		return 0
	case word == lastWord:
		return bits.OnesCount64(b.pages[i][word] &^ (bit - 1) & through)
	}
	members := bits.OnesCount64(b.pages[i][word] &^ (bit - 1))
	for _, w := range b.pages[i][word+1 : lastWord] {
		members += bits.OnesCount64(w)
	}
	return members + bits.OnesCount64(b.pages[i][lastWord]&through)
}

func (b *bitmap) below(n number) int {
	i, word, bit := at(n)
	chapter := i / chapterPages
	count := 0
	for _, members := range b.chapters[:chapter] {
		count += int(members)
	}
	for _, members := range b.inPage[chapter*chapterPages : i] {
		count += int(members)
	}
	if b.pages[i] == nil {
		return count
	}
	for _, w := range b.pages[i][:word] {
		count += bits.OnesCount64(w)
	}
	return count + bits.OnesCount64(b.pages[i][word]&(bit-1))
}

func (b *bitmap) free(k number) number {
	left := int(k.lo)
	chapter := 0
	for ; ; chapter++ {
		free := chapterPages*pageBits - int(b.chapters[chapter])
		if left < free {
			break
		}
		left -= free
	}
	i := chapter * chapterPages
	for ; ; i++ {
		free := pageBits - int(b.inPage[i])
		if left < free {
			break
		}
		left -= free
	}
	if b.pages[i] == nil {
		return number{0, uint64(i*pageBits + left)}
	}
	for word, w := range b.pages[i] {
		free := wordBits - bits.OnesCount64(w)
		if left < free {
			return number{0, uint64(i*pageBits + word*wordBits + nthZero(w, left))}
		}
		left -= free
	}
	panic("addrset: a page has fewer free addresses than were counted")
}

// nthZero is the place of the bit that is not set which n such are lower than.
func nthZero(w uint64, n int) int {
	w = ^w
	for range n {
		w &= w - 1
	}
	return bits.TrailingZeros64(w)
}
