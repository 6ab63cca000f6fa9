package authority_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/store/authority"
)

func TestAuthorityIsReadAsItWasWritten(t *testing.T) {
	a := newAuthority(t)
	b, err := authority.Parse(a.PEM())
	must(t, err)
	if !bytes.Equal(a.PEM(), b.PEM()) || !a.Root().Equal(b.Root()) || a.Fingerprint() != b.Fingerprint() {
		t.Fatal("another authority is read than was written")
	}
	if other := newAuthority(t); other.Fingerprint() == a.Fingerprint() || other.Root().SerialNumber.Cmp(a.Root().SerialNumber) == 0 {
		t.Fatal("two authorities are one")
	}
	if a.Root().CheckSignatureFrom(a.Root()) != nil || !a.Root().IsCA {
		t.Fatal("the root does not stand for itself")
	}
	// The root of a host that is a day behind is valid too, and it has no end.
	if a.Root().NotBefore.After(start.Add(-day)) || a.Root().NotAfter.Before(start.AddDate(1000, 0, 0)) {
		t.Fatalf("root from %s to %s", a.Root().NotBefore, a.Root().NotAfter)
	}
}

func TestBadAuthorities(t *testing.T) {
	a, b := string(newAuthority(t).PEM()), string(newAuthority(t).PEM())
	const border = "-----BEGIN CERTIFICATE"
	key, cert, _ := strings.Cut(a, border)
	cert = border + cert
	_, otherCert, _ := strings.Cut(b, border)
	c := newCluster(t)
	leaf := string(authority.CertificatePEM(c.node("one").Certificate()))
	for name, text := range map[string]string{
		"empty":           "",
		"no key":          cert,
		"no certificate":  key,
		"turned round":    cert + key,
		"two":             a + b,
		"another's":       key + border + otherCert,
		"rest":            a + "more",
		"no authority's":  key + leaf,
		"a damaged key":   strings.Replace(key, "MC4C", "MC4D", 1) + cert,
		"a damaged block": strings.Replace(a, "MII", "MIJ", 1),
	} {
		if _, err := authority.Parse([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		} else if repeats(err.Error(), strings.Split(key, "\n")[1]) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestCertificateOfAMember(t *testing.T) {
	c := newCluster(t)
	i := c.open("host-1")
	cert := c.sign(i, authority.Subject{
		Node: "host-1", Member: true, Names: []string{"host_1", "host-1.example", authority.ServerName, "host_1"},
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.2"), netip.MustParseAddr("fd00::1")},
	})
	if want := []string{authority.ServerName, "host_1", "host-1.example"}; !slices.Equal(cert.DNSNames, want) {
		t.Errorf("names %v, want %v", cert.DNSNames, want)
	}
	if cert.Subject.CommonName != "host-1" || cert.IsCA {
		t.Errorf("for %s", cert.Subject)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.authority.Root())
	for _, name := range []string{authority.ServerName, "192.0.2.1", "192.0.2.2", "fd00::1"} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestCertificateOfANode(t *testing.T) {
	c := newCluster(t)
	cert := c.sign(c.open("host"), authority.Subject{Node: "host", Names: []string{"name"}, Addresses: []netip.Addr{loopback}})
	if len(cert.DNSNames)+len(cert.IPAddresses) > 0 || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Fatalf("a node's certificate serves %v %v, for %v", cert.DNSNames, cert.IPAddresses, cert.ExtKeyUsage)
	}
	if !cert.NotBefore.Equal(start.Add(-day)) || !cert.NotAfter.Equal(start.Add(year)) {
		t.Fatalf("from %s to %s", cert.NotBefore, cert.NotAfter)
	}
	if at := authority.RenewAt(cert); !at.Equal(start.Add((year - day) / 2)) {
		t.Fatalf("renewed at %s", at)
	}
}

func TestSerialNumbersAreOfOneLength(t *testing.T) {
	c := newCluster(t)
	i := c.open("host")
	seen := map[string]bool{}
	for range 600 { // the first byte is 0 in one of 256, without care
		serial := authority.Serial(c.sign(i, authority.Subject{Node: "host"}))
		if len(serial) != 32 || strings.HasPrefix(serial, "00") || seen[serial] {
			t.Fatalf("serial number %s", serial)
		}
		seen[serial] = true
	}
}

func TestWhatIsNotSigned(t *testing.T) {
	c := newCluster(t)
	good, err := c.open("host").Request(false)
	must(t, err)
	tampered := bytes.Replace(good, []byte("host"), []byte("most"), 1)
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	otherKind, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "host"}}, foreign)
	must(t, err)
	if _, err := c.authority.Sign(good, authority.Subject{Node: "host"}, start); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		csr []byte
		s   authority.Subject
	}{
		"nothing":        {nil, authority.Subject{Node: "host"}},
		"rest":           {append(slices.Clone(good), 0), authority.Subject{Node: "host"}},
		"tampered with":  {tampered, authority.Subject{Node: "most"}},
		"another name":   {good, authority.Subject{Node: "other"}},
		"no name":        {good, authority.Subject{}},
		"another kind":   {otherKind, authority.Subject{Node: "host"}},
		"no address":     {good, authority.Subject{Node: "host", Member: true, Addresses: []netip.Addr{{}}}},
		"no name of DNS": {good, authority.Subject{Node: "host", Member: true, Names: []string{"hôte"}}},
	} {
		if cert, err := c.authority.Sign(test.csr, test.s, start); err == nil {
			t.Errorf("%s: signed for %s", name, cert.Subject)
		}
	}
}

func TestRevocationList(t *testing.T) {
	c := newCluster(t)
	cert := c.node("host").Certificate()
	der, err := c.authority.RevocationList([]string{authority.Serial(cert), "0A"}, start)
	must(t, err)
	list, err := x509.ParseRevocationList(der) // as etcd does
	must(t, err)
	must(t, list.CheckSignatureFrom(c.authority.Root()))
	if len(list.RevokedCertificateEntries) != 2 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(cert.SerialNumber) != 0 {
		t.Fatalf("refused: %v", list.RevokedCertificateEntries)
	}
	for _, bad := range []string{"", "xyz", "0", "-1", "1g"} {
		if _, err := c.authority.RevocationList([]string{bad}, start); err == nil {
			t.Errorf("serial number %q: taken", bad)
		}
	}
}

func TestRoots(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	roots, err := authority.ParseRoots(authority.CertificatePEM(a.Root(), b.Root()))
	if err != nil || len(roots) != 2 || !roots[0].Equal(a.Root()) || !roots[1].Equal(b.Root()) {
		t.Fatalf("%v, %v", roots, err)
	}
	leaf := newCluster(t).node("host").Certificate()
	for name, raw := range map[string][]byte{
		"empty": nil, "no PEM": []byte("roots"), "rest": append(authority.CertificatePEM(a.Root()), "rest"...),
		"a node's": authority.CertificatePEM(a.Root(), leaf), "with a key": a.PEM(),
	} {
		_, err := authority.ParseRoots(raw)
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// What fails for its certificate says so with x509's own type.
	_, err = authority.ParseRoots([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	if err == nil || errors.Unwrap(err) == nil {
		t.Errorf("a damaged one: %v", err)
	}
}
