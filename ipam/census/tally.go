package census

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"gvlan/cluster/store"
)

// tallyFor is how long a tally is told again: it costs every record of a full
// network, for a sentence.
const tallyFor = 10 * time.Second

// Tally is what the records of some ranges are.
type Tally struct {
	Leases      map[string]int // by node, "" for what is the swarm's
	Reserved    int
	Quarantined int
	Conflicted  int
	Resting     int
	Oldest      store.Lease // by the order they were taken in
	OldestAt    netip.Addr  // invalid: there is no lease

	oldest store.Revision
}

// Told returns what tell says of the records of the ranges of a subnet, of now
// or of a short while ago. It keeps nobody from a list, and where there are too
// many records to be read in a call it is not tried again for as long.
func (l *Lists) Told(ctx context.Context, segment string, ranges []netip.Prefix, tell func(Tally) string) (string, error) {
	ln := l.line(segment, ranges)
	select {
	case ln.telling <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
	}
	defer func() { <-ln.telling }()
	if !ln.toldAt.IsZero() && l.now().Sub(ln.toldAt) < tallyFor {
		return ln.told, ln.untold
	}
	t, err := l.tally(ctx, segment, ranges)
	ln.told, ln.untold, ln.toldAt = "", err, l.now()
	if err == nil {
		ln.told = tell(t)
	}
	return ln.told, ln.untold
}

// tally reads every record of some ranges.
func (l *Lists) tally(ctx context.Context, segment string, ranges []netip.Prefix) (Tally, error) {
	t := Tally{Leases: map[string]int{}}
	for _, r := range ranges {
		_, err := l.store.Scan(ctx, store.LeasesSpan(segment, r), store.Whole, func(items []store.Item) error {
			for _, it := range items {
				t.count(it)
			}
			return nil
		})
		if err != nil {
			return Tally{}, err
		}
	}
	return t, nil
}

func (t *Tally) count(it store.Item) {
	if _, _, ok := store.CooldownOf(it.Key); ok {
		t.Resting++
		return
	}
	_, addr, err := store.LeaseOf(it.Key)
	rec, bad := store.Decode[store.Lease](it)
	if err != nil || bad != nil {
		return
	}
	switch rec.State {
	case store.Reserved:
		t.Reserved++
	case store.Quarantined:
		t.Quarantined++
	case store.Conflicted:
		t.Conflicted++
	default:
		t.Leases[rec.Node]++
		if t.oldest == 0 || it.Created < t.oldest {
			t.Oldest, t.OldestAt, t.oldest = rec, addr, it.Created
		}
	}
}

// Held is how many leases there are.
func (t Tally) Held() (leases int) {
	for _, n := range t.Leases {
		leases += n
	}
	return leases
}
