package listen_test

import (
	"flag"
	"net/netip"
	"strings"
	"testing"

	"gvlan/dns/dnstest"
	"gvlan/dns/listen"
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
