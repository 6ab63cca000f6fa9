package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"gvlan/cluster/store"
	"gvlan/ipam/evict"
)

// DefaultGap is how long after the first look that saw something the second is:
// longer than what is under way stands half done.
const DefaultGap = 3 * time.Second

// tries is how often a look is begun anew whose revision was compacted meanwhile.
const tries = 3

// Witness is what this host's agent knows of what is its own.
type Witness interface {
	// Node is this host's, "" before it is known.
	Node() string
	// HasLease reports whether the agent knows an address as this host's, in
	// whatever state: then it is in its hands.
	HasLease(segment string, addr netip.Addr) bool
	// HasEndpoint reports whether the agent or the engine knows an endpoint of
	// that id.
	HasEndpoint(id string) bool
}

// Auditor looks for what should not stand in the store, and takes it away.
type Auditor struct {
	KV    store.KV
	Grant evict.Grant // what a repair has rest hangs from one; never nil
	Own   Witness     // nil: nobody bears witness
	Gap   time.Duration
	Now   func() time.Time
}

// candidate is a record that looked wrong.
type candidate struct {
	item store.Item
	in   folder
}

// Audit looks. It ends at the first look where that shows nothing wrong. Else it
// looks again after Gap, and tells of what was wrong at both and was not written
// in between. Told is called before it waits; nil: nobody is.
func (a *Auditor) Audit(ctx context.Context, told func(wait time.Duration)) (Report, error) {
	first, suspicious, err := a.glance(ctx)
	if err != nil {
		return Report{}, err
	}
	if first.recovering || !suspicious {
		return Report{Revision: first.revision, Recovering: first.recovering}, nil
	}
	gap := cmp.Or(a.Gap, DefaultGap)
	if told != nil {
		told(gap)
	}
	if !store.Sleep(ctx, gap) {
		return Report{}, ctx.Err()
	}
	second, found, err := a.again(ctx, first)
	if err != nil {
		return Report{}, err
	}
	report := Report{Revision: second.revision, Recovering: second.recovering}
	if second.recovering {
		return report, nil
	}
	j := a.judge(second)
	for _, c := range found {
		if f, wrong := j.of(c.item, c.in); wrong {
			report.Findings = append(report.Findings, f)
		}
	}
	return report, nil
}

func (a *Auditor) judge(l *look) judge { return judge{l, a.Own, a.Now()} }

// glance is the first look. Suspicious is that something may be wrong: it judges
// each record as it comes by, before it has seen those that come later, by what
// was known of nodes and networks just before.
func (a *Auditor) glance(ctx context.Context) (l *look, suspicious bool, err error) {
	before := newLook()
	before.brief = true
	in := newFolders()
	for _, span := range frame() {
		if _, err := a.KV.Scan(ctx, span, store.Whole, func(page []store.Item) error {
			for _, it := range page {
				before.take(it, in.of(it.Key))
			}
			return nil
		}); err != nil {
			return nil, false, fmt.Errorf("audit the store: %w", err)
		}
	}
	j := a.judge(before)
	l, err = a.look(ctx, func(it store.Item, in folder) {
		_, wrong := j.of(it, in)
		suspicious = suspicious || wrong
	}, func() { suspicious = false })
	return l, err == nil && (suspicious || !l.agrees()), err
}

// again is the second look, with the records that were wrong at the first and are
// as they were.
func (a *Auditor) again(ctx context.Context, first *look) (l *look, found []candidate, err error) {
	j := a.judge(first)
	l, err = a.look(ctx, func(it store.Item, in folder) {
		if it.Modified > first.revision {
			return
		}
		if _, wrong := j.of(it, in); wrong {
			found = append(found, candidate{it, in})
		}
	}, func() { found = nil })
	return l, found, err
}

// look reads all that says how things are at one revision, and shows each record.
// Anew is called before it begins another time.
func (a *Auditor) look(ctx context.Context, each func(store.Item, folder), anew func()) (*look, error) {
	in := newFolders()
	for try := 1; ; try++ {
		l := newLook()
		anew()
		revision, err := a.KV.Scan(ctx, store.StateSpan(), store.Whole, func(page []store.Item) error {
			for _, it := range page {
				of := in.of(it.Key)
				l.take(it, of)
				each(it, of)
			}
			return nil
		})
		if err == nil {
			l.seal(revision)
			return l, nil
		}
		if !errors.Is(err, store.ErrCompacted) || try == tries {
			return nil, fmt.Errorf("audit the store: %w", err)
		}
	}
}
