package zone

import "encoding/binary"

// UDPSize is the largest UDP message sent, and what is advertised as the
// largest taken (EDNS0, RFC 6891): what crosses every path unfragmented, as
// agreed at the DNS flag day of 2020.
const UDPSize = 1232

// The direct path answers the questions nearly every client asks, IN A,
// AAAA and PTR of a name that exists, from the packet itself and without
// allocating. Whatever is odd about a packet, or takes more than the records
// asked for, it leaves to the other path (answer.go); a fuzz test holds the
// two to the same answers.

// Parts of a DNS message (RFC 1035 section 4.1, RFC 6891 section 6.1).
const (
	headerSize = 12
	optSize    = 11

	bitResponse  = 1 << 15
	bitAuthority = 1 << 10
	bitTruncated = 1 << 9
	bitDesired   = 1 << 8
	bitAvailable = 1 << 7
	bitUnchecked = 1 << 4
	maskOpcode   = 0xf << 11

	typeA, typePTR, typeAAAA, typeOPT = 1, 12, 28, 41
	classINET                         = 1
	dnssecOK                          = 1 << 15
)

// question is what the direct path read from a packet.
type question struct {
	name  []byte // folded
	qtype uint16
	end   int // of the question section
	size  int // largest answer
	edns  bool
	do    bool
}

// parse reads a packet of one plain question.
func parse(fold, packet []byte) (q question, ok bool) {
	if len(packet) < headerSize+5 {
		return q, false
	}
	flags := binary.BigEndian.Uint16(packet[2:])
	if flags&(bitResponse|maskOpcode|bitTruncated) != 0 ||
		binary.BigEndian.Uint64(packet[4:])>>16 != 1<<32 || packet[10] != 0 || packet[11] > 1 {
		return q, false
	}
	q.name, q.end, ok = foldWire(fold, packet, headerSize)
	if !ok || len(packet) < q.end+4 || binary.BigEndian.Uint16(packet[q.end+2:]) != classINET {
		return q, false
	}
	q.qtype = binary.BigEndian.Uint16(packet[q.end:])
	q.end += 4
	q.size = 512
	if packet[11] == 0 {
		return q, len(packet) == q.end
	}
	return q, q.parseOPT(packet[q.end:])
}

// parseOPT reads an EDNS0 record without options.
func (q *question) parseOPT(rr []byte) bool {
	if len(rr) != optSize || rr[0] != 0 || binary.BigEndian.Uint16(rr[1:]) != typeOPT ||
		rr[5] != 0 || rr[6] != 0 || binary.BigEndian.Uint16(rr[9:]) != 0 {
		return false
	}
	q.edns = true
	q.size = min(max(q.size, int(binary.BigEndian.Uint16(rr[3:]))), UDPSize)
	q.do = binary.BigEndian.Uint16(rr[7:])&dnssecOK != 0
	return true
}

// finish turns the copied header into the answer's.
func (q *question) finish(dst []byte, count int, recursion bool) {
	flags := binary.BigEndian.Uint16(dst[2:])&(bitDesired|bitUnchecked) | bitResponse | bitAuthority
	if recursion {
		flags |= bitAvailable
	}
	binary.BigEndian.PutUint16(dst[2:], flags)
	binary.BigEndian.PutUint16(dst[6:], uint16(count))
	dst[10], dst[11] = 0, 0
	if q.edns {
		dst[11] = 1
	}
}

// appendHeader appends a record's fixed part; its name is a pointer to the
// question's, so that the case the client wrote comes back (RFC 4343).
func appendHeader(dst []byte, ttl uint32, qtype uint16, size int) []byte {
	dst = append(dst, 0xc0, headerSize, byte(qtype>>8), byte(qtype), 0, classINET)
	dst = binary.BigEndian.AppendUint32(dst, ttl)
	return binary.BigEndian.AppendUint16(dst, uint16(size))
}

// tooMany ends an answer that no UDP packet holds; the other path cuts it.
const tooMany = UDPSize / (headerSize + 4)

func appendA(dst []byte, ttl uint32, t turn) ([]byte, int) {
	count := 0
	for m := t.next(); m != nil && count <= tooMany; m = t.next() {
		if m.v4.IsValid() {
			addr := m.v4.As4()
			dst = append(appendHeader(dst, ttl, typeA, len(addr)), addr[:]...)
			count++
		}
	}
	return dst, count
}

func appendAAAA(dst []byte, ttl uint32, t turn) ([]byte, int) {
	count := 0
	for m := t.next(); m != nil && count <= tooMany; m = t.next() {
		if m.v6.IsValid() {
			addr := m.v6.As16()
			dst = append(appendHeader(dst, ttl, typeAAAA, len(addr)), addr[:]...)
			count++
		}
	}
	return dst, count
}

func appendPTR(dst []byte, ttl uint32, domain string, net *network, m *member) []byte {
	dst = appendHeader(dst, ttl, typePTR, 0)
	start := len(dst)
	dst = appendName(dst, net.own(m))
	if net.zoned {
		dst = appendName(dst, net.label)
		dst = appendName(dst, domain)
	}
	dst = append(dst, 0)
	binary.BigEndian.PutUint16(dst[start-2:], uint16(len(dst)-start))
	return dst
}

// appendName appends a folded name's labels without the root.
func appendName(dst []byte, name string) []byte {
	at := len(dst)
	dst = append(dst, 0)
	for i := range len(name) {
		if name[i] == '.' {
			at = len(dst)
			dst = append(dst, 0)
			continue
		}
		dst = append(dst, name[i])
		dst[at]++
	}
	return dst
}

func appendOPT(dst []byte, do bool) []byte {
	flags := uint16(0)
	if do {
		flags = dnssecOK
	}
	dst = append(dst, 0, 0, typeOPT, UDPSize>>8, UDPSize&0xff, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, flags)
	return append(dst, 0, 0)
}

// Cut leaves of a packed answer what its question had: the header, with TC
// set, the question, and EDNS0. It is never larger than the question was.
func Cut(answer, question []byte) []byte {
	end := headerSize
	for end < len(answer) && answer[end] != 0 {
		end += 1 + int(answer[end])
	}
	end += 1 + 4
	edns := binary.BigEndian.Uint16(question[10:]) > 0
	if end > len(answer) {
		return answer[:0]
	}
	answer = answer[:end]
	binary.BigEndian.PutUint16(answer[2:], binary.BigEndian.Uint16(answer[2:])|bitTruncated)
	clear(answer[6:headerSize])
	if edns {
		answer = appendOPT(answer, false)
		answer[11] = 1
	}
	return answer
}
