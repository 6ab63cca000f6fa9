package listen

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// Anybody on the LAN can ask in another's name, and then that one gets the
// answer. So what answers over UDP have more than their questions is limited
// for each address and for what an attack on a whole network would ask for; an
// answer beyond that is the question with TC set, which is no larger, and makes
// a client ask again over TCP, where it is who it says.
const (
	excessClient = 32 << 10  // bytes a second for one address: a thousand small answers, or 28 of the largest
	excessPrefix = 512 << 10 // and for its prefix
	prefix4      = 24
	prefix6      = 64
	buckets      = 4096 // addresses are spread over; who shares one shares what it gives
)

// excess limits, by address, what answers have more than their questions. A
// burst is what a second gives.
type excess struct {
	now     func() time.Time
	began   time.Time
	seed    maphash.Seed
	clients [buckets]bucket
	nets    [buckets]bucket
}

// newExcess returns an excess whose buckets are full.
func newExcess(now func() time.Time) *excess {
	return &excess{now: now, began: now(), seed: maphash.MakeSeed()}
}

// bucket is the time at which it is full again, in nanoseconds since excess.began.
type bucket struct{ full atomic.Int64 }

// take takes bytes, or none and returns false.
func (b *bucket) take(now, bytes, perSecond int64) bool {
	for {
		was := b.full.Load()
		next := max(was, now) + bytes*int64(time.Second)/perSecond
		if next-now > int64(time.Second) {
			return false
		}
		if b.full.CompareAndSwap(was, next) {
			return true
		}
	}
}

// allows reports whether an answer may go out over UDP as it is.
func (e *excess) allows(client netip.Addr, question, answer int) bool {
	more := int64(answer - question)
	if more <= 0 {
		return true
	}
	bits := prefix4
	if client.Is6() {
		bits = prefix6
	}
	network, err := client.Prefix(bits)
	if err != nil {
		return false
	}
	now := int64(e.now().Sub(e.began))
	return e.clients[maphash.Comparable(e.seed, client.WithZone(""))%buckets].take(now, more, excessClient) &&
		e.nets[maphash.Comparable(e.seed, network)%buckets].take(now, more, excessPrefix)
}
