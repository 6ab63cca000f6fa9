package zone_test

import (
	"encoding/hex"
	"flag"
	"net/netip"
	"testing"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

var Update = flag.Bool("update", false, "write the golden files anew")

// TestGoldenWire holds every record type, and every kind of empty answer, to
// the bytes it had when it was judged right by eye: the dump beside the
// bytes is what dig would show.
func TestGoldenWire(t *testing.T) {
	f := dnstest.HouseOf(t, zone.Config{Node: "h1", Hosts: []netip.Addr{netip.MustParseAddr("10.9.0.10"), netip.MustParseAddr("fd09::10")}})
	tests := []struct {
		name  string
		query string
		qtype uint16
		edns  bool
	}{
		{"a", "web.lan1.gvlan.internal.", miekg.TypeA, false},
		{"aaaa", "web.lan1.gvlan.internal.", miekg.TypeAAAA, false},
		{"a-edns", "WeB.lan1.gvlan.internal.", miekg.TypeA, true},
		{"ptr4", "10.0.9.10.in-addr.arpa.", miekg.TypePTR, false},
		{"ptr6", "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.d.f.ip6.arpa.", miekg.TypePTR, false},
		{"srv", "_80._tcp.web.lan1.gvlan.internal.", miekg.TypeSRV, false},
		{"srv-label", "_http._tcp.web.lan1.gvlan.internal.", miekg.TypeSRV, false},
		{"txt", "web.lan1.gvlan.internal.", miekg.TypeTXT, false},
		{"soa", "gvlan.internal.", miekg.TypeSOA, false},
		{"soa-reverse", "0.9.10.in-addr.arpa.", miekg.TypeSOA, false},
		{"ns", "gvlan.internal.", miekg.TypeNS, false},
		{"ns-address", "ns.gvlan.internal.", miekg.TypeA, false},
		{"any", "web.lan1.gvlan.internal.", miekg.TypeANY, false},
		{"nodata", "db.lan1.gvlan.internal.", miekg.TypeAAAA, false},
		{"nodata-parent", "_tcp.web.lan1.gvlan.internal.", miekg.TypeSRV, false},
		{"nodata-reverse", "10.0.9.10.in-addr.arpa.", miekg.TypeA, false},
		{"nxdomain", "no.lan1.gvlan.internal.", miekg.TypeA, true},
		{"nxdomain-reverse", "99.0.9.10.in-addr.arpa.", miekg.TypePTR, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := new(miekg.Msg).SetQuestion(tt.query, tt.qtype)
			q.Id = 0x1234
			if tt.edns {
				q.SetEdns0(4096, true)
			}
			m := f.Zone.Answer(q, zone.Asker{Scope: zone.Everything()}).Msg
			raw, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			dnstest.Golden(t, *Update, "wire/"+tt.name, m.String()+"\n"+hex.Dump(raw))
		})
	}
}

func TestTruncation(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{})
	f.Define("lan1", "10.9.0.0/16")
	for i := range 200 {
		f.Start(dnstest.Endpoint("h1", "lan1", "n"+string(rune('a'+i%26))+string(rune('a'+i/26)), dnstest.NthAddress(i)+"/16", dnstest.Alias("many")))
	}
	for _, tt := range []struct {
		name    string
		edns    uint16
		stream  bool
		largest int
		cut     bool
	}{
		{"without EDNS0", 0, false, 512, true},
		{"EDNS0 below the least", 100, false, 512, true},
		{"EDNS0", 4096, false, zone.UDPSize, true},
		{"TCP", 0, true, miekg.MaxMsgSize, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := new(miekg.Msg).SetQuestion("many.", miekg.TypeA)
			if tt.edns > 0 {
				q.SetEdns0(tt.edns, false)
			}
			m := f.Zone.Answer(q, zone.Asker{Scope: zone.Networks("uuid-lan1"), Stream: tt.stream}).Msg
			raw, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if len(raw) > tt.largest {
				t.Errorf("%d bytes, want at most %d", len(raw), tt.largest)
			}
			if m.Truncated != tt.cut {
				t.Errorf("truncated %v, want %v", m.Truncated, tt.cut)
			}
			if got := len(m.Answer); tt.cut == (got == 200) || got == 0 {
				t.Errorf("%d answers", got)
			}
		})
	}
}
