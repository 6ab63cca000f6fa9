package zone_test

import (
	"net"
	"testing"

	miekg "github.com/miekg/dns"

	"gvlan/dns/zone"
)

// BenchmarkAnswer compares what one question costs without the sockets:
// through the library, straight from the packet, and through the library
// with a fixed record and no zone.
func BenchmarkAnswer(b *testing.B) {
	z := fuzzZone(b)
	packet, err := new(miekg.Msg).SetQuestion("web.lan1.gvlan.internal.", miekg.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	by := zone.Asker{Scope: zone.Everything()}
	buf := make([]byte, 0, 4096)
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var q miekg.Msg
			q.Unpack(packet)
			m := new(miekg.Msg).SetReply(&q)
			m.Answer = []miekg.RR{&miekg.A{
				Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeA, Class: miekg.ClassINET, Ttl: 5}, A: net.IPv4(10, 1, 0, 1)}}
			m.Pack()
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var q miekg.Msg
			q.Unpack(packet)
			z.Answer(&q, by).Msg.PackBuffer(buf[:cap(buf)])
		}
	})
	b.Run("direct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			z.Direct(buf, packet, by, true)
		}
	})
}
