package zone

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"

	miekg "github.com/miekg/dns"
)

// CutMessage is Cut for an answer that is not packed.
func CutMessage(m *miekg.Msg) {
	opt := m.IsEdns0()
	m.Answer, m.Ns, m.Extra, m.Truncated = nil, nil, nil, true
	if opt != nil {
		m.Extra = []miekg.RR{opt}
	}
}

// UDPSize is the largest UDP message sent, and what is advertised as the
// largest taken (EDNS0, RFC 6891): what crosses every path unfragmented, as
// agreed at the DNS flag day of 2020.
const UDPSize = 1232

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
		z.fill(m, s, f, by)
	}
	a.Msg = Fit(q, m, by)
	return a
}

// AnswerPacket answers a packet into dst, by wire.go where that can, and
// never waits: it is for the goroutine that read the packet, which spares one
// for each question, whose stack would have to grow each time. It returns
// false when the question may have to be passed on, or is none. bare says
// whether names without their network may be answered. What it answered it
// counted.
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

// headerOf reads a packet's header.
func headerOf(packet []byte) miekg.Header {
	field := func(i int) uint16 { return binary.BigEndian.Uint16(packet[2*i:]) }
	return miekg.Header{Id: field(0), Bits: field(1), Qdcount: field(2), Ancount: field(3), Nscount: field(4), Arcount: field(5)}
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

// fill puts the records of a found name into an answer.
func (z *Zone) fill(m *miekg.Msg, s *snapshot, f found, by Asker) {
	q := m.Question[0]
	hdr := miekg.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: miekg.ClassINET, Ttl: z.ttl}
	switch {
	case f.kind == absent || f.kind == unheld:
		m.Rcode = miekg.RcodeNameError
	case q.Qtype == miekg.TypeANY:
		hdr.Rrtype = miekg.TypeHINFO // RFC 8482 section 4.2
		m.Answer = append(m.Answer, &miekg.HINFO{Hdr: hdr, Cpu: "RFC8482"})
	case f.kind == host:
		z.fillHost(m, s, f, by, hdr)
	case f.kind == service && q.Qtype == miekg.TypeSRV:
		z.fillService(m, s, f, by, hdr)
	case f.kind == pointer && q.Qtype == miekg.TypePTR:
		z.fillPointers(m, s, f, by, hdr)
	case f.kind == nsname:
		z.fillServer(m, hdr)
	case f.kind == apex || f.kind == backward:
		z.fillApex(m, s, f, hdr)
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, z.soa(s, z.owner(s, f, by, q.Name), negativeTTL))
	}
}

func (z *Zone) fillHost(m *miekg.Msg, s *snapshot, f found, by Asker, hdr miekg.RR_Header) {
	t := s.turns(f.members, by.Spin)
	for mem := t.next(); mem != nil; mem = t.next() {
		switch {
		case hdr.Rrtype == miekg.TypeA && mem.v4.IsValid():
			m.Answer = append(m.Answer, &miekg.A{Hdr: hdr, A: mem.v4.AsSlice()})
		case hdr.Rrtype == miekg.TypeAAAA && mem.v6.IsValid():
			m.Answer = append(m.Answer, &miekg.AAAA{Hdr: hdr, AAAA: mem.v6.AsSlice()})
		case hdr.Rrtype == miekg.TypeTXT && mem.text != "":
			m.Answer = append(m.Answer, &miekg.TXT{Hdr: hdr, Txt: textStrings(mem.text)})
		}
	}
}

func (z *Zone) fillService(m *miekg.Msg, s *snapshot, f found, by Asker, hdr miekg.RR_Header) {
	t := s.turns(f.members, by.Spin)
	for mem := t.next(); mem != nil; mem = t.next() {
		target := z.target(f.net, mem)
		for _, p := range mem.ports {
			if p.proto != f.proto || p.service != f.service {
				continue
			}
			m.Answer = append(m.Answer, &miekg.SRV{Hdr: hdr, Port: p.number, Target: target})
			glue := miekg.RR_Header{Name: target, Class: miekg.ClassINET, Ttl: z.ttl}
			if mem.v4.IsValid() {
				glue.Rrtype = miekg.TypeA
				m.Extra = append(m.Extra, &miekg.A{Hdr: glue, A: mem.v4.AsSlice()})
			}
			if mem.v6.IsValid() {
				glue.Rrtype = miekg.TypeAAAA
				m.Extra = append(m.Extra, &miekg.AAAA{Hdr: glue, AAAA: mem.v6.AsSlice()})
			}
		}
	}
}

func (z *Zone) fillPointers(m *miekg.Msg, s *snapshot, f found, by Asker, hdr miekg.RR_Header) {
	t := s.turns(f.members, by.Spin)
	for mem := t.next(); mem != nil; mem = t.next() {
		m.Answer = append(m.Answer, &miekg.PTR{Hdr: hdr, Ptr: z.target(s.networks[mem.network], mem)})
	}
}

// fillServer answers for the name server's own name.
func (z *Zone) fillServer(m *miekg.Msg, hdr miekg.RR_Header) {
	for _, addr := range z.hosts {
		switch {
		case hdr.Rrtype == miekg.TypeA && addr.Is4():
			m.Answer = append(m.Answer, &miekg.A{Hdr: hdr, A: addr.AsSlice()})
		case hdr.Rrtype == miekg.TypeAAAA && addr.Is6():
			m.Answer = append(m.Answer, &miekg.AAAA{Hdr: hdr, AAAA: addr.AsSlice()})
		}
	}
}

// fillApex answers for the top of the domain or of a reverse zone.
func (z *Zone) fillApex(m *miekg.Msg, s *snapshot, f found, hdr miekg.RR_Header) {
	switch hdr.Rrtype {
	case miekg.TypeSOA:
		m.Answer = append(m.Answer, z.soa(s, hdr.Name, z.ttl))
	case miekg.TypeNS:
		m.Answer = append(m.Answer, &miekg.NS{Hdr: hdr, Ns: z.server()})
	}
}

// server is the name server's own name.
func (z *Zone) server() string { return "ns." + z.domain + "." }

// target is the name a member is pointed to by: its own, fully qualified
// where its network has a zone.
func (z *Zone) target(net *network, m *member) string {
	if net.zoned {
		return m.own(net) + "." + net.label + "." + z.domain + "."
	}
	return m.own(net) + "."
}

// owner is the zone a negative answer speaks for (RFC 2308 section 3). A
// short name has no zone above it, so it is taken for one itself.
func (z *Zone) owner(s *snapshot, f found, by Asker, name string) string {
	switch {
	case f.below:
		return z.domain + "."
	case f.zone.IsValid():
		return reverseName(f.zone)
	case f.kind == pointer:
		zone, _ := s.reverseZone(by.Scope, f.members[0].single())
		return reverseName(zone)
	}
	return name
}

func (z *Zone) soa(s *snapshot, owner string, ttl uint32) *miekg.SOA {
	return &miekg.SOA{
		Hdr: miekg.RR_Header{Name: owner, Rrtype: miekg.TypeSOA, Class: miekg.ClassINET, Ttl: ttl},
		Ns:  z.server(), Mbox: "hostmaster." + z.domain + ".",
		Serial: s.serial, Refresh: 60, Retry: 10, Expire: 86400, Minttl: negativeTTL,
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

// Looked is what a question would be answered.
type Looked struct {
	Text    string // in the form dig shows
	Known   bool   // false when the name is not the zone's: a client's question would be passed on
	Missing bool   // the zone says that there is no such name (NXDOMAIN, RFC 8020)
}

// Lookup answers one question as a client in that scope would be answered
// over TCP.
func (z *Zone) Lookup(scope Scope, name, qtype string) (Looked, error) {
	t, ok := miekg.StringToType[strings.ToUpper(qtype)]
	if !ok {
		return Looked{}, fmt.Errorf("record type %q is not known: use one such as A, AAAA, PTR, SRV or TXT", qtype)
	}
	if _, ok := miekg.IsDomainName(name); !ok {
		return Looked{}, fmt.Errorf("name %q is not a domain name", name)
	}
	q := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), t)
	m := z.Answer(q, Asker{Scope: scope, Recursion: true, Stream: true}).Msg
	if m == nil {
		return Looked{}, nil
	}
	return Looked{Text: m.String(), Known: true, Missing: m.Rcode == miekg.RcodeNameError}, nil
}
