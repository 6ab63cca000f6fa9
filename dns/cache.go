package dns

import (
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru"
	miekg "github.com/miekg/dns"
)

// Bounds of what is remembered of upstream answers.
const (
	cacheSize    = 10_000
	longestTTL   = time.Hour
	longestEmpty = 15 * time.Minute
	failureTTL   = time.Second    // of "no server answered", so that a burst costs one round
	staleFor     = 24 * time.Hour // an expired answer is better than none (RFC 8767)
	staleTTL     = 30             // seconds, given with it (RFC 8767 section 4)
)

// cacheKey is what answers differ by.
type cacheKey struct {
	name              string // lower case
	qtype             uint16
	dnssec, unchecked bool
}

func keyOf(q *miekg.Msg) cacheKey {
	opt := q.IsEdns0()
	return cacheKey{
		name: strings.ToLower(q.Question[0].Name), qtype: q.Question[0].Qtype,
		dnssec: opt != nil && opt.Do(), unchecked: q.CheckingDisabled,
	}
}

// cache remembers upstream answers for as long as they allow.
type cache struct {
	entries *lru.Cache
	now     func() time.Time
}

type cached struct {
	m       *miekg.Msg
	stored  time.Time
	expires time.Time
}

func newCache(now func() time.Time) *cache {
	entries, err := lru.New(cacheSize)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &cache{entries: entries, now: now}
}

// get returns a copy of what is remembered; with stale also what has
// expired.
func (c *cache) get(key cacheKey, stale bool) *miekg.Msg {
	v, ok := c.entries.Get(key)
	if !ok {
		return nil
	}
	one, now := v.(cached), c.now()
	fresh := now.Before(one.expires)
	if !fresh && (!stale || now.Sub(one.expires) > staleFor) {
		return nil
	}
	m := one.m.Copy()
	age := uint32(now.Sub(one.stored) / time.Second)
	for _, section := range [][]miekg.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			switch hdr := rr.Header(); {
			case hdr.Rrtype == miekg.TypeOPT:
			case !fresh:
				hdr.Ttl = staleTTL
			default:
				hdr.Ttl -= min(age, hdr.Ttl)
			}
		}
	}
	return m
}

// put remembers an answer, unless it says not to.
func (c *cache) put(key cacheKey, m *miekg.Msg) {
	ttl := timeToLive(m)
	if ttl <= 0 {
		return
	}
	if m.Rcode == miekg.RcodeServerFailure && c.get(key, true) != nil {
		return // what is stale is worth more
	}
	now := c.now()
	c.entries.Add(key, cached{m: m.Copy(), stored: now, expires: now.Add(ttl)})
}

// timeToLive is how long an answer may be remembered: the least TTL of its
// records, or for an empty one what its SOA says (RFC 2308 section 5).
func timeToLive(m *miekg.Msg) time.Duration {
	switch {
	case m.Truncated:
		return 0
	case m.Rcode == miekg.RcodeServerFailure:
		return failureTTL
	case m.Rcode != miekg.RcodeSuccess && m.Rcode != miekg.RcodeNameError:
		return 0
	}
	if len(m.Answer) == 0 || m.Rcode == miekg.RcodeNameError {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*miekg.SOA); ok {
				return min(time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second, longestEmpty)
			}
		}
		return 0
	}
	ttl := longestTTL
	for _, rr := range m.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return ttl
}
