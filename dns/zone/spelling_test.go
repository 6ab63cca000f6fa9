package zone_test

import (
	"slices"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

// both answers a question on the path of packets and on the other one.
func both(t *testing.T, f *dnstest.Feed, scope zone.Scope, name string, qtype uint16) [2]*miekg.Msg {
	t.Helper()
	q := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), qtype)
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	by := zone.Asker{Scope: scope, Recursion: true}
	out, ok := f.Zone.AnswerPacket(make([]byte, 0, 4096), packet, by, true)
	if !ok {
		t.Fatalf("%s: passed on", name)
	}
	var inline miekg.Msg
	if err := inline.Unpack(out); err != nil {
		t.Fatal(err)
	}
	m := f.Zone.Answer(q, by).Msg
	return [2]*miekg.Msg{&inline, m}
}

// TestSpelling: who has a name as it is asked for answers, and all that have
// one like it where nobody has.
func TestSpelling(t *testing.T) {
	f := dnstest.NewFeed(t, zone.Config{Node: "h1"})
	f.Define("lan1", "10.9.0.0/24")
	lower := dnstest.Endpoint("h1", "lan1", "x_1", "10.9.0.1/24", dnstest.Exposed("80/tcp"))
	dash := dnstest.Endpoint("h2", "lan1", "x-1", "10.9.0.2/24", dnstest.Exposed("80/tcp"))
	upper := dnstest.Endpoint("h3", "lan1", "X_1", "10.9.0.3/24")
	f.Start(lower)
	f.Start(dash)
	f.Start(upper)
	f.Start(dnstest.Endpoint("h2", "lan1", "other_one", "10.9.0.4/24", dnstest.Alias("_svc"), dnstest.Alias("X_2")))
	scope := zone.Networks("uuid-lan1")
	check := func(name string, want ...string) {
		t.Helper()
		for _, form := range []string{name, name + ".lan1", name + ".lan1.gvlan.internal"} {
			for i, m := range both(t, f, scope, form, miekg.TypeA) {
				if got := slices.Sorted(slices.Values(dnstest.Addresses(m))); !slices.Equal(got, want) {
					t.Errorf("%s, path %d: got %v, want %v", form, i, got, want)
				}
			}
		}
	}
	check("x_1", "10.9.0.1")
	check("x-1", "10.9.0.2")
	check("X_1", "10.9.0.3")
	check("X-1", "10.9.0.1", "10.9.0.2", "10.9.0.3") // nobody's
	check("other-one", "10.9.0.4")
	check("OTHER_one", "10.9.0.4")
	check("x-2", "10.9.0.4")
	check("_svc", "10.9.0.4")
	check("_SVC", "10.9.0.4")
	for i, m := range both(t, f, scope, "_80._tcp.x_1", miekg.TypeSRV) {
		if got := m.String(); strings.Count(got, "SRV\t0 0 80") != 1 || !strings.Contains(got, "SRV\t0 0 80 x_1.lan1.") {
			t.Errorf("the service of x_1, path %d: got\n%v", i, m)
		}
	}
	for i, m := range both(t, f, scope, "1.0.9.10.in-addr.arpa", miekg.TypePTR) {
		if got := m.String(); !strings.Contains(got, "PTR\tx_1.lan1.gvlan.internal.") {
			t.Errorf("the name of 10.9.0.1, path %d: got\n%v", i, m)
		}
	}
	var listed []string
	for _, r := range f.Zone.Names(zone.Everything()) {
		if strings.EqualFold(strings.ReplaceAll(r.Name, "_", "-"), "x-1") {
			listed = append(listed, r.Name+"="+r.Addresses[0].String())
		}
	}
	if want := []string{"X_1=10.9.0.3", "x-1=10.9.0.2", "x_1=10.9.0.1"}; !slices.Equal(listed, want) {
		t.Errorf("listed are %v, want %v", listed, want)
	}

	f.Stop(dash)
	check("x-1", "10.9.0.1", "10.9.0.3")
	f.Stop(upper)
	check("X_1", "10.9.0.1")
	f.Start(dash)
	check("x_1", "10.9.0.1")
	changed := lower
	changed.Container.Aliases = []string{"x-1"}
	f.Start(changed)
	check("x-1", "10.9.0.1", "10.9.0.2")
	check("x_1", "10.9.0.1")
}
