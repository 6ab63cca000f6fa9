package zone_test

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

// fuzzZone has names of every kind, one of them with more addresses than a
// small packet holds.
func fuzzZone(t testing.TB) *zone.Zone {
	f := dnstest.House(t)
	for i := range 40 {
		f.Start(dnstest.Endpoint("h3", "lan1", "many"+strconv.Itoa(i), dnstest.NthAddress(100+i)+"/16", dnstest.Alias("many"), dnstest.V6("fd09::1:"+strconv.Itoa(i)+"/64")))
	}
	f.Start(dnstest.Endpoint("h1", "lan1", "mix-1", "10.9.0.21/24", dnstest.Alias("_db"), dnstest.Exposed("80/tcp")))
	f.Start(dnstest.Endpoint("h2", "lan1", "Mix_1", "10.9.0.22/24"))
	return f.Zone
}

// seeds are packets of every shape the zone answers, and some it does not.
func seeds(f *testing.F) {
	for _, name := range []string{
		"web.", "WeB.lan1.", "web.lan1.gvlan.internal.", "many.", "db_main.lan1.gvlan.internal.", "MIX-1.", "mix-1.", "Mix_1.lan1.", "_db.", "_80._tcp.mix-1.lan1.", "nobody.gvlan.internal.",
		"10.0.9.10.in-addr.arpa.", "22.0.9.10.in-addr.arpa.", "0.9.10.in-addr.arpa.", "_80._tcp.web.", `a\.b.gvlan.internal.`, "gvlan.internal.", ".", "example.com.",
		"0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.d.f.ip6.arpa.",
	} {
		for _, qtype := range []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypePTR, miekg.TypeSRV, miekg.TypeSOA, miekg.TypeANY, miekg.TypeAXFR} {
			q := new(miekg.Msg).SetQuestion(name, qtype)
			raw, err := q.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw, uint32(qtype))
			q.SetEdns0(1400, qtype == miekg.TypeA)
			q.CheckingDisabled = true
			if raw, err = q.Pack(); err != nil {
				f.Fatal(err)
			}
			f.Add(raw, uint32(3))
		}
	}
}

// throughLibrary answers a packet as the server does on the path through
// the library, or returns nil where it gives no answer.
func throughLibrary(z *zone.Zone, packet []byte, by zone.Asker) *miekg.Msg {
	var q miekg.Msg
	if q.Unpack(packet) != nil || q.Response || len(q.Question) != 1 {
		return nil
	}
	m := z.Answer(&q, by).Msg
	return m
}

// FuzzPacket holds any packet to: no panic, no answer to an answer, an
// answer that can be packed, and never more bytes than the client takes.
func FuzzPacket(f *testing.F) {
	z := fuzzZone(f)
	seeds(f)
	f.Fuzz(func(t *testing.T, packet []byte, spin uint32) {
		for _, scope := range []zone.Scope{zone.Everything(), zone.Networks("uuid-lan1", "uuid-proj_lan"), {}} {
			by := zone.Asker{Scope: scope, Spin: spin}
			if m := throughLibrary(z, packet, by); m != nil {
				raw, err := m.Pack()
				if err != nil {
					t.Fatalf("answer cannot be packed: %v\n%v", err, m)
				}
				checkAnswer(t, packet, raw)
			}
			if out, ok := z.Direct(nil, packet, by, true); ok {
				checkAnswer(t, packet, out)
			}
		}
	})
}

func checkAnswer(t *testing.T, packet, raw []byte) {
	t.Helper()
	var q, m miekg.Msg
	if err := m.Unpack(raw); err != nil {
		t.Fatalf("the answer is no message: %v\n%x", err, raw)
	}
	if err := q.Unpack(packet); err != nil {
		t.Fatalf("answered a packet that is no question: %v", err)
	}
	limit := miekg.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		limit = min(max(limit, int(opt.UDPSize())), zone.UDPSize)
	}
	switch {
	case q.Response:
		t.Fatal("answered an answer")
	case !m.Response || m.Id != q.Id:
		t.Fatalf("not an answer to this question:\n%v", &m)
	case len(raw) > limit && len(m.Answer) > 0:
		t.Fatalf("%d bytes for a client that takes %d", len(raw), limit)
	case len(m.Question) == 1 && m.Question[0] != q.Question[0]:
		t.Fatalf("question came back as %v, was %v", m.Question[0], q.Question[0])
	}
}

// FuzzPathsAgree holds the direct path to the answers of the path through
// the library: the same records in the same order, the same flags.
func FuzzPathsAgree(f *testing.F) {
	z := fuzzZone(f)
	seeds(f)
	f.Fuzz(func(t *testing.T, packet []byte, spin uint32) {
		for _, by := range []zone.Asker{
			{Scope: zone.Everything(), Spin: spin},
			{Scope: zone.Networks("uuid-lan1", "uuid-proj_lan"), Spin: spin, Recursion: true},
			{Scope: zone.Networks("uuid-proj_lan"), Spin: spin},
		} {
			out, ok := z.Direct(nil, packet, by, true)
			if !ok {
				continue
			}
			want := throughLibrary(z, packet, by)
			if want == nil {
				t.Fatalf("only the direct path answers %x", packet)
			}
			if diff := cmp.Diff(canonical(t, want), canonicalRaw(t, out)); diff != "" {
				t.Fatalf("paths differ for %x (-library +direct):\n%s", packet, diff)
			}
		}
	})
}

// canonical is a message packed the one way both paths can be brought to.
func canonical(t *testing.T, m *miekg.Msg) string {
	t.Helper()
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return canonicalRaw(t, raw)
}

func canonicalRaw(t *testing.T, raw []byte) string {
	t.Helper()
	var m miekg.Msg
	if err := m.Unpack(raw); err != nil {
		t.Fatalf("%v: %x", err, raw)
	}
	m.Compress = true
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return m.String() + string(packed)
}

// TestDirectTakesTheCommonQuestions makes sure that agreeing is not silence.
func TestDirectTakesTheCommonQuestions(t *testing.T) {
	z := fuzzZone(t)
	for _, tt := range []struct {
		query string
		qtype uint16
		size  uint16 // of EDNS0, or 0
		want  bool
	}{
		{"web.", miekg.TypeA, 0, true},
		{"web.", miekg.TypeAAAA, 1232, true},
		{"WEB.lan1.gvlan.internal.", miekg.TypeA, 4096, true},
		{"db_main.lan1.", miekg.TypeA, 0, true},
		{"10.0.9.10.in-addr.arpa.", miekg.TypePTR, 0, true},
		{"many.", miekg.TypeA, 0, false}, // too large for 512 bytes
		{"many.", miekg.TypeA, 1232, true},
		{"web.", miekg.TypeTXT, 0, false},
		{"nobody.", miekg.TypeA, 0, false},
	} {
		q := new(miekg.Msg).SetQuestion(tt.query, tt.qtype)
		if tt.size > 0 {
			q.SetEdns0(tt.size, false)
		}
		raw, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := z.Direct(nil, raw, zone.Asker{Scope: zone.Networks("uuid-lan1")}, true); ok != tt.want {
			t.Errorf("%s %s: direct %v, want %v", tt.query, miekg.TypeToString[tt.qtype], ok, tt.want)
		}
	}
}

func TestDirectDoesNotAllocate(t *testing.T) {
	z := fuzzZone(t)
	for name, qtype := range map[string]uint16{
		"web.lan1.gvlan.internal.": miekg.TypeA, "web.": miekg.TypeAAAA, "10.0.9.10.in-addr.arpa.": miekg.TypePTR,
	} {
		raw, err := new(miekg.Msg).SetQuestion(name, qtype).Pack()
		if err != nil {
			t.Fatal(err)
		}
		by := zone.Asker{Scope: zone.Networks("uuid-lan1")}
		buf := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() {
			if _, ok := z.Direct(buf, raw, by, true); !ok {
				t.Fatal("not answered")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
