package zone

import "sync/atomic"

// Counts are the questions one zone got since the agent started, by the
// code of the answer (RFC 1035 section 4.1.1). A zone is a network's, or one
// of the three that belong to no network.
type Counts struct {
	NoError  atomic.Uint64 // with data
	NoData   atomic.Uint64 // the name exists, the type does not
	NXDomain atomic.Uint64
	ServFail atomic.Uint64
	Refused  atomic.Uint64
	Other    atomic.Uint64
}

// ZoneCounts is Counts with the zone's name: a network's name, or one of
// DomainCounts, ReverseCounts and PassedCounts.
type ZoneCounts struct {
	Zone string
	*Counts
}

// The zones that are no network.
const (
	DomainCounts  = "."       // the domain above the networks, and names in none of them
	ReverseCounts = "reverse" // addresses nobody in scope holds
	PassedCounts  = "passed"  // given to Docker's resolver or an upstream
)

// Codes calls visit with the name and value of every counter, in the order
// of the fields.
func (c *Counts) Codes(visit func(code string, n uint64)) {
	visit("NOERROR", c.NoError.Load())
	visit("NODATA", c.NoData.Load())
	visit("NXDOMAIN", c.NXDomain.Load())
	visit("SERVFAIL", c.ServFail.Load())
	visit("REFUSED", c.Refused.Load())
	visit("OTHER", c.Other.Load())
}

// note counts one answer.
func (c *Counts) note(rcode int, answers int) {
	switch rcode {
	case 0:
		if answers > 0 {
			c.NoError.Add(1)
		} else {
			c.NoData.Add(1)
		}
	case 2:
		c.ServFail.Add(1)
	case 3:
		c.NXDomain.Add(1)
	case 5:
		c.Refused.Add(1)
	default:
		c.Other.Add(1)
	}
}
