package dns

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGoldenWire holds every record type, and every kind of empty answer, to
// the bytes it had when it was judged right by eye: the dump beside the
// bytes is what dig would show.
func TestGoldenWire(t *testing.T) {
	f := house(t)
	f.zone.hosts = house(t).zone.members["/endpoints/h1/h1-lan1-web"].addrs()
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
			m := f.zone.Answer(q, Asker{Scope: Everything()}).Msg
			raw, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, "wire/"+tt.name, m.String()+"\n"+hex.Dump(raw))
		})
	}
}

// compareGolden compares with testdata/<name>.golden, or writes it with
// -update.
func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestTruncation(t *testing.T) {
	f := newFeed(t, ZoneConfig{})
	f.define("lan1", "10.9.0.0/16")
	for i := range 200 {
		f.start(endpoint("h1", "lan1", "n"+string(rune('a'+i%26))+string(rune('a'+i/26)), netipAt(i)+"/16", alias("many")))
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
		{"EDNS0", 4096, false, UDPSize, true},
		{"TCP", 0, true, miekg.MaxMsgSize, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := new(miekg.Msg).SetQuestion("many.", miekg.TypeA)
			if tt.edns > 0 {
				q.SetEdns0(tt.edns, false)
			}
			m := f.zone.Answer(q, Asker{Scope: Networks("uuid-lan1"), Stream: tt.stream}).Msg
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

func netipAt(i int) string {
	return string(bytes.Join([][]byte{[]byte("10.9"), []byte(itoa(i / 200)), []byte(itoa(1 + i%200))}, []byte(".")))
}

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}
