package dns

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSetup(t *testing.T) {
	f := house(t)
	f.define("small", "192.168.32.128/25")
	s := Setup{Server: netip.MustParseAddrPort("127.0.0.1:53"), Domain: f.zone.Domain(), Reverse: f.zone.ReverseZones()}
	compareGolden(t, *update, "setup/resolved.conf", s.Resolved())
	compareGolden(t, *update, "setup/dnsmasq.conf", s.Dnsmasq())
	compareGolden(t, *update, "setup/Corefile", s.CoreDNS())
	compareGolden(t, *update, "setup/unbound.conf", s.Unbound())
	line, err := s.ResolvConf()
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, *update, "setup/resolv.conf", line)
	s.Server = netip.MustParseAddrPort("127.0.0.1:5354")
	if _, err := s.ResolvConf(); err == nil || !strings.Contains(err.Error(), "--dns-listen 127.0.0.1:53") {
		t.Errorf("a port resolv.conf cannot name: %v", err)
	}
}
