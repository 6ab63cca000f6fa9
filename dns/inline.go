package dns

import (
	"encoding/binary"

	miekg "github.com/miekg/dns"
)

// inline answers a packet on the goroutine that read it, or returns false
// when that could take long: the name is not the zone's. It spares a
// goroutine for each question, whose stack would have to grow each time.
// bare says whether names without their network may be answered; quick
// whether the direct path is tried first.
func (z *Zone) inline(dst, packet []byte, by asker, bare, quick bool) ([]byte, bool) {
	if quick {
		if out, ok := z.direct(dst, packet, by, bare); ok {
			return out, true
		}
	}
	if len(packet) < headerSize || miekg.DefaultMsgAcceptFunc(headerOf(packet)) != miekg.MsgAccept {
		return nil, false
	}
	var q miekg.Msg
	if q.Unpack(packet) != nil {
		return nil, false
	}
	m, f := z.reply(&q, by)
	if m == nil || f.bare && !bare {
		return nil, false
	}
	out, err := m.PackBuffer(dst[:cap(dst)])
	if err != nil {
		return nil, false
	}
	z.count(m, f)
	return out, true
}

// headerOf reads a packet's header.
func headerOf(packet []byte) miekg.Header {
	field := func(i int) uint16 { return binary.BigEndian.Uint16(packet[2*i:]) }
	return miekg.Header{Id: field(0), Bits: field(1), Qdcount: field(2), Ancount: field(3), Nscount: field(4), Arcount: field(5)}
}
