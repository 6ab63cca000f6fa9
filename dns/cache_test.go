//go:build !race

package dns

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"
)

func TestCacheTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Now)
		q := new(miekg.Msg).SetQuestion("example.com.", miekg.TypeA)
		soa := &miekg.SOA{Hdr: miekg.RR_Header{Name: "example.com.", Rrtype: miekg.TypeSOA, Class: miekg.ClassINET, Ttl: 600}, Minttl: 60}
		a := &miekg.A{Hdr: miekg.RR_Header{Name: "example.com.", Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 30}, A: net.IPv4(192, 0, 2, 1)}
		for _, tt := range []struct {
			name string
			fill func(m *miekg.Msg)
			ttl  time.Duration
		}{
			{"records", func(m *miekg.Msg) { m.Answer = []miekg.RR{a} }, 30 * time.Second},
			{"no such name", func(m *miekg.Msg) { m.Rcode = miekg.RcodeNameError; m.Ns = []miekg.RR{soa} }, time.Minute},
			{"nothing of this type", func(m *miekg.Msg) { m.Ns = []miekg.RR{soa} }, time.Minute},
			{"empty without SOA", func(m *miekg.Msg) {}, 0},
			{"failure", func(m *miekg.Msg) { m.Rcode = miekg.RcodeServerFailure }, time.Second},
			{"refusal", func(m *miekg.Msg) { m.Rcode = miekg.RcodeRefused }, 0},
			{"cut short", func(m *miekg.Msg) { m.Answer = []miekg.RR{a}; m.Truncated = true }, 0},
		} {
			m := new(miekg.Msg).SetReply(q)
			tt.fill(m)
			c.entries.Purge()
			c.put(keyOf(q), m)
			if tt.ttl > 0 {
				time.Sleep(tt.ttl - time.Millisecond)
				if c.get(keyOf(q), false) == nil {
					t.Errorf("%s: forgotten before %v", tt.name, tt.ttl)
				}
				time.Sleep(time.Millisecond)
			}
			if c.get(keyOf(q), false) != nil {
				t.Errorf("%s: remembered after %v", tt.name, tt.ttl)
			}
		}
		c.put(keyOf(q), &miekg.Msg{Answer: []miekg.RR{a}})
		time.Sleep(10 * time.Second)
		if ttl := c.get(keyOf(q), false).Answer[0].Header().Ttl; ttl != 20 {
			t.Errorf("TTL after 10 of 30 seconds: %d", ttl)
		}
	})
}
