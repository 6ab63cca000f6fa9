package listen

import (
	"fmt"
	"net/netip"
	"strings"
)

// Setup is what other resolvers have to be told so that they send gvlan's
// names to a Listener.
type Setup struct {
	Server  netip.AddrPort // of the listener
	Domain  string
	Reverse []string // reverse zones, without trailing dots
}

// zones returns every zone that goes to the listener, the domain first.
func (s Setup) zones() []string { return append([]string{s.Domain}, s.Reverse...) }

// Resolved returns a drop-in for systemd-resolved 246 or newer
// (/etc/systemd/resolved.conf.d/gvlan.conf, resolved.conf(5)). The "~" makes
// each domain one that is routed and not searched.
func (s Setup) Resolved() string {
	return fmt.Sprintf("[Resolve]\nDNS=%s\nDomains=~%s\n", s.Server, strings.Join(s.zones(), " ~"))
}

// Dnsmasq returns lines for dnsmasq.conf(5).
func (s Setup) Dnsmasq() string {
	var b strings.Builder
	for _, zone := range s.zones() {
		fmt.Fprintf(&b, "server=/%s/%s#%d\n", zone, s.Server.Addr(), s.Server.Port())
	}
	// Answers of private addresses are what is wanted here.
	fmt.Fprintf(&b, "rebind-domain-ok=/%s/\n", s.Domain)
	return b.String()
}

// CoreDNS returns a server block for a Corefile.
func (s Setup) CoreDNS() string {
	return fmt.Sprintf("%s {\n    forward . %s\n}\n", strings.Join(s.zones(), " "), s.Server)
}

// Unbound returns clauses for unbound.conf(5).
func (s Setup) Unbound() string {
	var b strings.Builder
	b.WriteString("server:\n")
	if s.Server.Addr().IsLoopback() {
		b.WriteString("    do-not-query-localhost: no\n")
	}
	fmt.Fprintf(&b, "    private-domain: \"%s\"\n", s.Domain)
	for _, zone := range s.zones() {
		fmt.Fprintf(&b, "    domain-insecure: \"%s\"\n", zone)
	}
	for _, zone := range s.Reverse {
		fmt.Fprintf(&b, "    local-zone: \"%s.\" nodefault\n", zone)
	}
	for _, zone := range s.zones() {
		fmt.Fprintf(&b, "stub-zone:\n    name: \"%s\"\n    stub-addr: %s@%d\n", zone, s.Server.Addr(), s.Server.Port())
	}
	return b.String()
}

// ResolvConf returns the line for the top of resolv.conf(5). The file has no
// room for a port, and its reader asks the next server when ours refuses a
// name that is not gvlan's.
func (s Setup) ResolvConf() (string, error) {
	if s.Server.Port() != 53 {
		return "", fmt.Errorf("resolv.conf cannot name port %d of %s: start the agent with --dns-listen %s:53", s.Server.Port(), s.Server, s.Server.Addr())
	}
	return fmt.Sprintf("nameserver %s\n", s.Server.Addr()), nil
}
