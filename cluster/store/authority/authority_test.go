package authority

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// fixedToken and fixedAuthority pin the derivation: hosts of different
// releases must derive the same authority from one token.
const (
	fixedToken     = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	fixedAuthority = "f9f2098bb10564c6e73e766130d081bf3992c43616c476d824141eacaf30af1b"
)

func authorityOf(t *testing.T, token string) *Authority {
	t.Helper()
	a, err := New(token)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthorityIsDerived(t *testing.T) {
	one, two := authorityOf(t, fixedToken), authorityOf(t, fixedToken)
	if !bytes.Equal(one.cert.Raw, two.cert.Raw) {
		t.Fatal("one token gives two authorities")
	}
	if other := authorityOf(t, NewToken()); bytes.Equal(one.cert.RawSubjectPublicKeyInfo, other.cert.RawSubjectPublicKeyInfo) {
		t.Fatal("two tokens give one authority")
	}
	if got := one.cert.PublicKey.(ed25519.PublicKey); hex.EncodeToString(got) != fixedAuthority {
		t.Fatalf("the token's public key is %s, was %s", hex.EncodeToString(got), fixedAuthority)
	}
}

func TestBadTokens(t *testing.T) {
	for name, token := range map[string]string{
		"empty":     "",
		"short":     fixedToken[:40],
		"long":      fixedToken + "AAAA",
		"character": "!" + fixedToken[1:],
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(token)
			if err == nil {
				t.Fatal("accepted")
			}
			if token != "" && strings.Contains(err.Error(), token) {
				t.Fatalf("the error repeats the token: %v", err)
			}
		})
	}
}

func TestClientCertificateIsRenewed(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	a := authorityOf(t, fixedToken)
	a.Now = func() time.Time { return now }
	get := a.Client("node").GetClientCertificate
	serial := func() string {
		cert, err := get(&tls.CertificateRequestInfo{})
		if err != nil {
			t.Fatal(err)
		}
		if now.After(cert.Leaf.NotAfter) || now.Before(cert.Leaf.NotBefore) {
			t.Fatalf("at %s the certificate is valid from %s to %s", now, cert.Leaf.NotBefore, cert.Leaf.NotAfter)
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	if serial() != first {
		t.Fatal("a new certificate for each handshake")
	}
	now = now.Add(lifetime/2 + time.Second)
	if serial() == first {
		t.Fatal("not renewed at half its life")
	}
}

func TestServerCertificate(t *testing.T) {
	a := authorityOf(t, fixedToken)
	cert, err := a.Server([]string{"host1"}, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, name := range []string{serverName, "localhost", "host1", "192.0.2.1", "fd00::1"} {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	client, err := a.issueClient("node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Leaf.Verify(x509.VerifyOptions{DNSName: "", Roots: roots}); err == nil {
		t.Error("a client's certificate passes for a server's")
	}
}
