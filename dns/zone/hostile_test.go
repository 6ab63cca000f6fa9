package zone_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

// nameForm is what a name of the zone has.
var nameForm = regexp.MustCompile(`^[a-z0-9._-]+$`)

// TestNoTextIsARecord: whatever somebody calls a container, its aliases, labels and
// network, or writes into a TXT record: what others have is answered as before, names
// are names, and an answer that is shown has one line for each record.
func TestNoTextIsARecord(t *testing.T) {
	known := []string{"web.lan1.gvlan.internal", "db-main.lan1.gvlan.internal", "web.proj-lan.gvlan.internal", "10.0.9.10.in-addr.arpa", "gvlan.internal", "nobody.gvlan.internal"}
	ofHouse := func(z *zone.Zone) (all []string) {
		for _, name := range known {
			for _, qtype := range []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypePTR, miekg.TypeTXT, miekg.TypeNS} {
				m := resolve(z, zone.Everything(), name, qtype)
				if m == nil {
					t.Fatalf("%s is not answered", name)
				}
				for _, rr := range m.Answer {
					all = append(all, rr.String())
				}
			}
		}
		return all
	}
	for _, text := range dnstest.Hostile() {
		f := dnstest.House(t)
		want := ofHouse(f.Zone)
		odd := dnstest.Definition(text, "10.7.0.0/24")
		odd.UUID = "uuid-odd"
		f.Zone.ApplyNetworks(dnstest.Put(f, store.NetworkKey(text), odd))
		e := dnstest.Endpoint("h2", text, text, "10.7.0.66/24", dnstest.Alias(text, "said"), dnstest.Exposed(text, "80/"+text, text+"/tcp"),
			dnstest.Label("gvlan.txt", text), dnstest.Label("gvlan.srv."+text, "8080"), dnstest.Label("gvlan.srv.http", text),
			dnstest.Label("com.docker.swarm.service.name", text), dnstest.Label("com.docker.swarm.task.name", text))
		e.Container.Hostname, e.Network = text, odd.UUID
		f.Start(e)
		if diff := cmp.Diff(want, ofHouse(f.Zone)); diff != "" {
			t.Errorf("with %q others are answered (-before +after):\n%s", text, diff)
		}
		for _, record := range f.Zone.Names(zone.Everything()) {
			folded, ok := zone.FoldName(record.Name)
			if !ok || !nameForm.MatchString(folded) {
				t.Errorf("%q gives the name %q", text, record.Name)
			}
		}
		scope := zone.Networks(odd.UUID)
		for _, name := range []string{"said", "66.0.7.10.in-addr.arpa", "_http._tcp.said", text} {
			if _, ok := miekg.IsDomainName(name); !ok {
				continue
			}
			for _, qtype := range []uint16{miekg.TypeA, miekg.TypePTR, miekg.TypeTXT, miekg.TypeSRV, miekg.TypeANY} {
				m := resolve(f.Zone, scope, name, qtype)
				if m == nil {
					continue
				}
				for _, rr := range m.Answer {
					shown := strings.ReplaceAll(rr.String(), "\t", " ")
					if strings.ContainsFunc(shown, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) }) {
						t.Errorf("%q is shown as %q", text, shown)
					}
				}
			}
		}
		if m := resolve(f.Zone, scope, "said", miekg.TypeTXT); m == nil || len(m.Answer) != 1 {
			t.Errorf("the TXT record %q is answered\n%v", text, m)
		}
	}
}
