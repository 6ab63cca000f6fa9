package driver

import (
	"context"
	"time"
)

const (
	// quarantine is how long an evicted node's addresses rest: long enough
	// for a host that was only cut off to come back and take its own again.
	quarantine = 10 * time.Minute
	// quarantineEvery is how often the store is searched for those that are
	// over.
	quarantineEvery = time.Minute
)

// endQuarantines frees addresses that have rested. One node does it for all,
// the first by name of those connected; two doing it at once do no harm.
func (d *Driver) endQuarantines(ctx context.Context) error {
	live, _ := d.tables.live.all()
	if nodes := namesOf(live); len(nodes) == 0 || nodes[0] != d.self.Node() {
		return nil
	}
	if d.now().Sub(d.quarantined) < quarantineEvery {
		return nil
	}
	d.quarantined = d.now()
	freed, err := d.addresses.EndQuarantines(ctx, d.now().Add(-quarantine))
	if freed > 0 {
		d.log.Info("freed addresses whose quarantine is over", "addresses", freed)
	}
	return err
}
