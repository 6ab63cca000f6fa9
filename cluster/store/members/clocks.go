package members

import "time"

// clocks say for how long which member was seen silent, by this leader and
// without a break: one that begins to lead, or was itself away, begins anew. So a
// power cut of all hosts, which all come back, costs none its place.
type clocks struct {
	patience time.Duration // until a member is Gone
	bare     time.Duration // until one whose host is connected is Bare

	since    time.Time            // it leads
	last     time.Time            // it looked
	silent   map[uint64]time.Time // by member
	connect  map[uint64]time.Time // silent while its host was connected
	failures map[string]int       // by node; see Host.Failures
}

// awayAfter is how long between two looks means that this host stood still, and
// so knows nothing of the time in between.
const awayAfter = 15 * time.Second

func (c *clocks) reset() {
	c.since, c.last = time.Time{}, time.Time{}
	c.silent, c.connect, c.failures = nil, nil, nil
}

// look takes over what is seen now, and returns for how long this host has led.
func (c *clocks) look(now time.Time, v *View) time.Duration {
	if c.since.IsZero() || now.Sub(c.last) > awayAfter || now.Before(c.last) {
		c.reset()
		c.since, c.failures = now, map[string]int{}
	}
	c.last = now
	live := map[string]bool{}
	for i := range v.Hosts {
		h := &v.Hosts[i]
		live[h.Node], h.Failures = h.Live, c.failures[h.Node]
	}
	silent, connect := map[uint64]time.Time{}, map[uint64]time.Time{}
	for i := range v.Members {
		m := &v.Members[i]
		if m.Answers {
			if m.InStep {
				delete(c.failures, m.Node)
			}
			continue
		}
		silent[m.ID] = earlier(c.silent, m.ID, now)
		m.Gone = now.Sub(silent[m.ID]) >= c.patience
		// One that was never started may still be fetching what it needs.
		if m.Started && live[m.Node] {
			connect[m.ID] = earlier(c.connect, m.ID, now)
			m.Bare = now.Sub(connect[m.ID]) >= c.bareAfter(m.Node)
		}
	}
	c.silent, c.connect = silent, connect
	return now.Sub(c.since)
}

// bareAfter doubles each time that a host begins anew and comes to nothing: what
// ails it is something else then.
func (c *clocks) bareAfter(node string) time.Duration {
	return min(c.bare<<min(c.failures[node], 16), c.patience)
}

// did takes over a step that was done.
func (c *clocks) did(step Step, m Member) {
	if step.Action == Remove && (m.Bare || m.Learner && m.Gone) {
		c.failures[step.Node]++
	}
}

func earlier(had map[uint64]time.Time, id uint64, now time.Time) time.Time {
	if at, found := had[id]; found {
		return at
	}
	return now
}
