package listen_test

import (
	"flag"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/dns/dnstest"
	"gvlan/dns/listen"
	"gvlan/dns/zone"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestSetup(t *testing.T) {
	f := dnstest.House(t)
	f.Define("small", "192.168.32.128/25")
	s := listen.Setup{Server: netip.MustParseAddrPort("127.0.0.1:53"), Domain: f.Zone.Domain(), Reverse: f.Zone.ReverseZones()}
	dnstest.Golden(t, *update, "setup/resolved.conf", s.Resolved())
	dnstest.Golden(t, *update, "setup/dnsmasq.conf", s.Dnsmasq())
	dnstest.Golden(t, *update, "setup/Corefile", s.CoreDNS())
	dnstest.Golden(t, *update, "setup/unbound.conf", s.Unbound())
	line, err := s.ResolvConf()
	if err != nil {
		t.Fatal(err)
	}
	dnstest.Golden(t, *update, "setup/resolv.conf", line)
	s.Server = netip.MustParseAddrPort("127.0.0.1:5354")
	if _, err := s.ResolvConf(); err == nil || !strings.Contains(err.Error(), "--dns-listen 127.0.0.1:53") {
		t.Errorf("a port resolv.conf cannot name: %v", err)
	}
}

// TestSetupHasNoNames: what others are told to read is made of domains that were
// checked and of subnets, whatever networks and containers are called.
func TestSetupHasNoNames(t *testing.T) {
	f := dnstest.House(t)
	made := func() (all []string) {
		s := listen.Setup{Server: netip.MustParseAddrPort("127.0.0.1:53"), Domain: f.Zone.Domain(), Reverse: f.Zone.ReverseZones()}
		line, err := s.ResolvConf()
		if err != nil {
			t.Fatal(err)
		}
		return []string{s.Resolved(), s.Dnsmasq(), s.CoreDNS(), s.Unbound(), line}
	}
	want := made()
	for _, text := range dnstest.Hostile() {
		f.Define(text, "10.9.0.0/24") // which another network has, too
		f.Start(dnstest.Endpoint("h1", text, text, "10.9.0.66/24", dnstest.Alias(text)))
		if diff := cmp.Diff(want, made()); diff != "" {
			t.Errorf("with %q resolvers are told (-before +after):\n%s", text, diff)
		}
		if domain, err := zone.FoldDomain(text); err == nil && !domainForm.MatchString(domain) {
			t.Errorf("%q is taken for a domain", text)
		}
	}
}

// domainForm is what a domain has.
var domainForm = regexp.MustCompile(`^[a-z0-9.-]+$`)
