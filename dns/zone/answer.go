package zone

import (
	"encoding/binary"
	"strings"

	miekg "github.com/miekg/dns"
)

// Asker is who a question comes from.
type Asker struct {
	Scope     Scope
	Spin      uint32 // any number that differs from question to question: equals take turns by it
	Recursion bool   // what is not ours can be passed on
	Stream    bool   // TCP: no size limit
}

// Answer is what the zone says to a question.
type Answer struct {
	Msg  *miekg.Msg // nil: the question is not the zone's, and may be passed on
	Bare bool       // the name was asked for without its network

	counts *Counts // of the zone the name is in
}

// Count notes that the answer was given.
func (a Answer) Count() { a.counts.note(a.Msg.Rcode, len(a.Msg.Answer)) }

// CountPassed notes an answer that somebody else gave, or nobody.
func (z *Zone) CountPassed(rcode, answers int) { z.passedCounts.note(rcode, answers) }

// AnswerPacket answers a packet into dst and counts the answer. It returns
// false when the question may have to be passed on, or is none. With bare, names
// without their network are answered too. It waits for nothing, so it is for
// the goroutine that read the packet: one for each question would have to grow
// its stack each time.
func (z *Zone) AnswerPacket(dst, packet []byte, by Asker, bare bool) ([]byte, bool) {
	if out, ok := z.direct(dst, packet, by, bare); ok {
		return out, true
	}
	if len(packet) < headerSize || miekg.DefaultMsgAcceptFunc(headerOf(packet)) != miekg.MsgAccept {
		return nil, false
	}
	var q miekg.Msg
	if q.Unpack(packet) != nil {
		return nil, false
	}
	a := z.Answer(&q, by)
	if a.Msg == nil || a.Bare && !bare {
		return nil, false
	}
	out, err := a.Msg.PackBuffer(dst[:cap(dst)])
	if err != nil {
		return nil, false
	}
	a.Count()
	return out, true
}

// direct is AnswerPacket for the questions that wire.go reads; it returns false
// when the other path has to answer.
func (z *Zone) direct(dst, packet []byte, by Asker, bare bool) ([]byte, bool) {
	var fold [maxName + 2]byte
	q, ok := parse(fold[:0], packet)
	if !ok {
		return nil, false
	}
	s := z.now()
	f := s.lookup(by.Scope, q.name)
	if f.bare && !bare || f.mixed {
		return nil, false
	}
	dst = append(dst[:0], packet[:q.end]...)
	count := 0
	switch {
	case f.kind == host && q.qtype == typeA:
		dst, count = appendA(dst, z.ttl, s.turns(f.members, by.Spin))
	case f.kind == host && q.qtype == typeAAAA:
		dst, count = appendAAAA(dst, z.ttl, s.turns(f.members, by.Spin))
	case f.kind == pointer && q.qtype == typePTR && len(f.members) == 1:
		dst, count = appendPTR(dst, z.ttl, z.domain, f.net, f.members[0]), 1
	}
	if count == 0 {
		return nil, false
	}
	if q.edns {
		dst = appendOPT(dst, q.do)
	}
	if len(dst) > q.size {
		return nil, false
	}
	q.finish(dst, count, by.Recursion)
	f.net.counts.NoError.Add(1)
	return dst, true
}

// headerOf reads a packet's header.
func headerOf(packet []byte) miekg.Header {
	field := func(i int) uint16 { return binary.BigEndian.Uint16(packet[2*i:]) }
	return miekg.Header{Id: field(0), Bits: field(1), Qdcount: field(2), Ancount: field(3), Nscount: field(4), Arcount: field(5)}
}

// Answer answers a question, whatever it asks for.
func (z *Zone) Answer(q *miekg.Msg, by Asker) Answer {
	if len(q.Question) != 1 {
		return Answer{Msg: Fit(q, new(miekg.Msg).SetRcode(q, miekg.RcodeFormatError), by), counts: &z.domainCounts}
	}
	s := z.now()
	f := z.find(s, by.Scope, q.Question[0].Name)
	a := Answer{Bare: f.bare, counts: z.countsOf(f)}
	if f.kind == nowhere || f.kind == unheld && by.Recursion {
		return a
	}
	m := new(miekg.Msg)
	if rcode := oddity(q); rcode != miekg.RcodeSuccess {
		m.SetRcode(q, rcode)
	} else {
		m.SetReply(q)
		m.Authoritative = true
		c := composer{zone: z, s: s, found: f, by: by, m: m, hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: miekg.ClassINET, Ttl: z.ttl}}
		c.compose()
	}
	a.Msg = Fit(q, m, by)
	return a
}

// find looks up a name in presentation form. A name below the domain with
// bytes that none of ours holds is no name of ours, and nobody else's.
func (z *Zone) find(s *snapshot, scope Scope, name string) found {
	var buf [maxName]byte
	if folded, ok := foldQuery(buf[:0], name); ok {
		return s.lookup(scope, folded).exact(name)
	}
	if miekg.IsSubDomain(z.domain+".", strings.ToLower(name)) {
		return found{kind: absent, below: true}
	}
	return found{}
}

// countsOf returns the counts of the zone a name is in.
func (z *Zone) countsOf(f found) *Counts {
	switch {
	case f.net != nil:
		return f.net.counts
	case f.zone.IsValid():
		return &z.reverseCounts
	}
	return &z.domainCounts
}

// oddity returns why a question about a name of ours gets no ordinary
// answer, or RcodeSuccess.
func oddity(q *miekg.Msg) int {
	opt := q.IsEdns0()
	switch {
	case q.Opcode != miekg.OpcodeQuery:
		return miekg.RcodeNotImplemented
	case opt != nil && opt.Version() != 0:
		return miekg.RcodeBadVers
	case q.Question[0].Qclass != miekg.ClassINET:
		return miekg.RcodeRefused
	case q.Question[0].Qtype == miekg.TypeAXFR || q.Question[0].Qtype == miekg.TypeIXFR:
		return miekg.RcodeRefused
	}
	return miekg.RcodeSuccess
}

// Fit makes an answer fit its question's transport: EDNS0 is answered
// with EDNS0, and what is too large for UDP is cut with TC set.
func Fit(q, m *miekg.Msg, by Asker) *miekg.Msg {
	m.RecursionAvailable = by.Recursion
	size := miekg.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = min(max(size, int(opt.UDPSize())), UDPSize)
		m.SetEdns0(UDPSize, opt.Do())
	}
	if by.Stream {
		size = miekg.MaxMsgSize
	}
	m.Truncate(size)
	return m
}

// CutMessage is Cut for an answer that is not packed.
func CutMessage(m *miekg.Msg) {
	opt := m.IsEdns0()
	m.Answer, m.Ns, m.Extra, m.Truncated = nil, nil, nil, true
	if opt != nil {
		m.Extra = []miekg.RR{opt}
	}
}

// negativeTTL is how long "no such name" may be remembered (RFC 2308): a
// container that is about to start must not stay unknown for long.
const negativeTTL = 2 // seconds

// composer puts the records of a found name into an answer.
type composer struct {
	zone  *Zone
	s     *snapshot
	found found
	by    Asker
	m     *miekg.Msg
	hdr   miekg.RR_Header // of a record of the name and type that were asked for
}

// compose fills the answer in.
func (c *composer) compose() {
	switch {
	case c.found.kind == absent || c.found.kind == unheld:
		c.m.Rcode = miekg.RcodeNameError
	case c.hdr.Rrtype == miekg.TypeANY:
		hdr := c.hdr
		hdr.Rrtype = miekg.TypeHINFO // RFC 8482 section 4.2
		c.m.Answer = append(c.m.Answer, &miekg.HINFO{Hdr: hdr, Cpu: "RFC8482"})
	case c.found.kind == host:
		c.host()
	case c.found.kind == service && c.hdr.Rrtype == miekg.TypeSRV:
		c.service()
	case c.found.kind == pointer && c.hdr.Rrtype == miekg.TypePTR:
		c.pointers()
	case c.found.kind == nsname:
		c.server()
	case c.found.kind == apex || c.found.kind == backward:
		c.apex()
	}
	if len(c.m.Answer) == 0 {
		c.m.Ns = append(c.m.Ns, c.soa(c.owner(), negativeTTL))
	}
}

// host answers for containers: their addresses, or what they say of themselves.
func (c *composer) host() {
	t := c.s.turns(c.found.members, c.by.Spin)
	for mem := t.next(); mem != nil; mem = t.next() {
		switch {
		case c.hdr.Rrtype == miekg.TypeA && mem.v4.IsValid():
			c.m.Answer = append(c.m.Answer, &miekg.A{Hdr: c.hdr, A: mem.v4.AsSlice()})
		case c.hdr.Rrtype == miekg.TypeAAAA && mem.v6.IsValid():
			c.m.Answer = append(c.m.Answer, &miekg.AAAA{Hdr: c.hdr, AAAA: mem.v6.AsSlice()})
		case c.hdr.Rrtype == miekg.TypeTXT && mem.text != "":
			c.m.Answer = append(c.m.Answer, &miekg.TXT{Hdr: c.hdr, Txt: textStrings(mem.text)})
		}
	}
}

// service answers for a port of containers, with their addresses beside.
func (c *composer) service() {
	t := c.s.turns(c.found.members, c.by.Spin)
	for mem := t.next(); mem != nil; mem = t.next() {
		target := c.target(c.found.net, mem)
		for _, p := range mem.ports {
			if p.proto != c.found.proto || p.service != c.found.service {
				continue
			}
			c.m.Answer = append(c.m.Answer, &miekg.SRV{Hdr: c.hdr, Port: p.number, Target: target})
			glue := miekg.RR_Header{Name: target, Class: miekg.ClassINET, Ttl: c.hdr.Ttl}
			if mem.v4.IsValid() {
				glue.Rrtype = miekg.TypeA
				c.m.Extra = append(c.m.Extra, &miekg.A{Hdr: glue, A: mem.v4.AsSlice()})
			}
			if mem.v6.IsValid() {
				glue.Rrtype = miekg.TypeAAAA
				c.m.Extra = append(c.m.Extra, &miekg.AAAA{Hdr: glue, AAAA: mem.v6.AsSlice()})
			}
		}
	}
}

// pointers answers for an address.
func (c *composer) pointers() {
	t := c.s.turns(c.found.members, c.by.Spin)
	for mem := t.next(); mem != nil; mem = t.next() {
		c.m.Answer = append(c.m.Answer, &miekg.PTR{Hdr: c.hdr, Ptr: c.target(c.s.networks[mem.network], mem)})
	}
}

// server answers for the name server's own name.
func (c *composer) server() {
	for _, addr := range c.zone.hosts {
		switch {
		case c.hdr.Rrtype == miekg.TypeA && addr.Is4():
			c.m.Answer = append(c.m.Answer, &miekg.A{Hdr: c.hdr, A: addr.AsSlice()})
		case c.hdr.Rrtype == miekg.TypeAAAA && addr.Is6():
			c.m.Answer = append(c.m.Answer, &miekg.AAAA{Hdr: c.hdr, AAAA: addr.AsSlice()})
		}
	}
}

// apex answers for the top of the domain or of a reverse zone.
func (c *composer) apex() {
	switch c.hdr.Rrtype {
	case miekg.TypeSOA:
		c.m.Answer = append(c.m.Answer, c.soa(c.hdr.Name, c.hdr.Ttl))
	case miekg.TypeNS:
		c.m.Answer = append(c.m.Answer, &miekg.NS{Hdr: c.hdr, Ns: c.serverName()})
	}
}

// serverName is the name server's own name.
func (c *composer) serverName() string { return "ns." + c.zone.domain + "." }

// target is the name a member is pointed to by: its own, fully qualified
// where its network has a zone.
func (c *composer) target(net *network, m *member) string {
	if net.zoned {
		return net.own(m) + "." + net.label + "." + c.zone.domain + "."
	}
	return net.own(m) + "."
}

// owner is the zone a negative answer speaks for (RFC 2308 section 3). A
// short name has no zone above it, so it is taken for one itself.
func (c *composer) owner() string {
	switch {
	case c.found.below:
		return c.zone.domain + "."
	case c.found.zone.IsValid():
		return reverseName(c.found.zone)
	case c.found.kind == pointer:
		zone, _ := c.s.reverseZone(c.by.Scope, c.found.members[0].single())
		return reverseName(zone)
	}
	return c.hdr.Name
}

// soa is the record at the top of a zone, and in every empty answer.
func (c *composer) soa(owner string, ttl uint32) *miekg.SOA {
	return &miekg.SOA{
		Hdr: miekg.RR_Header{Name: owner, Rrtype: miekg.TypeSOA, Class: miekg.ClassINET, Ttl: ttl},
		Ns:  c.serverName(), Mbox: "hostmaster." + c.zone.domain + ".",
		Serial: c.s.serial, Refresh: 60, Retry: 10, Expire: 86400, Minttl: negativeTTL,
	}
}

// textStrings cuts a text into the character strings of a TXT record (255
// octets each, RFC 1035 section 3.3.14), escaped as the library wants them.
func textStrings(text string) []string {
	var out []string
	for len(text) > 255 {
		out = append(out, strings.ReplaceAll(text[:255], `\`, `\\`))
		text = text[255:]
	}
	return append(out, strings.ReplaceAll(text, `\`, `\\`))
}
