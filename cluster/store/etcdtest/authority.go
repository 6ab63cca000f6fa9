package etcdtest

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/embedded"
)

// Authority is who signs the certificates of one cluster.
type Authority struct{ *authority.Authority }

// NewAuthority makes one.
func NewAuthority(t *testing.T) Authority {
	t.Helper()
	made, err := authority.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return Authority{made}
}

// Identity makes that of a host, with a certificate as a node and, for a
// member, one as a member too.
func (a Authority) Identity(t *testing.T, node string, member bool) *authority.Identity {
	t.Helper()
	identity, err := authority.OpenIdentity(t.TempDir(), node, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := identity.Accept(a.sign(t, identity, node, false), authority.CertificatePEM(a.Root())); err != nil {
		t.Fatal(err)
	}
	if !member {
		return identity
	}
	if err := identity.AcceptMember(a.sign(t, identity, node, true)); err != nil {
		t.Fatal(err)
	}
	a.Refuse(t, identity)
	return identity
}

func (a Authority) sign(t *testing.T, identity *authority.Identity, node string, member bool) []byte {
	t.Helper()
	csr, err := identity.Request(member)
	if err != nil {
		t.Fatal(err)
	}
	subject := authority.Subject{Node: node, Member: member}
	if member {
		subject.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}
	cert, err := a.Sign(csr, subject, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return cert.Raw
}

// Refuse has a member refuse certificates, and those alone.
func (a Authority) Refuse(t *testing.T, member *authority.Identity, certs ...*x509.Certificate) {
	t.Helper()
	var serials []string
	for _, cert := range certs {
		serials = append(serials, authority.Serial(cert))
	}
	list, err := a.RevocationList(serials, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := member.SetRevocationList(list); err != nil {
		t.Fatal(err)
	}
}

// Client is what a node connects to members with.
func (a Authority) Client(t *testing.T, node string) *tls.Config {
	t.Helper()
	return a.Identity(t, node, false).Client()
}

// Member configures an open server of a member, on free ports.
func (a Authority) Member(t *testing.T, identity *authority.Identity, name string) embedded.Config {
	t.Helper()
	return embedded.Config{
		Dir: t.TempDir(), Name: name,
		Listen: FreeAddress(t), Peer: FreeAddress(t),
		Files: identity.Files(), Refused: identity.Refused, RefusedChanged: identity.RefusedChanged,
	}
}
