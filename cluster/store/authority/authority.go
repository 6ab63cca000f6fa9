// Package authority is what a token makes: the certificate authority of one
// embedded etcd, derived by its server and by everyone who joins it. Standard
// library only.
package authority

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	tokenBytes = 32
	// derivation separates the authority's key from anything else that is
	// ever derived from a token.
	derivation = "gvlan etcd authority 1"
	// serverName is what clients ask the server's certificate for, whatever
	// address they reach it by: a host keeps it when its addresses change.
	serverName = "etcd.gvlan.internal"
	// lifetime of a certificate; it is renewed when half of it is over.
	lifetime = 30 * 24 * time.Hour
	// backdate is how far behind the clock of another host may be.
	backdate = 24 * time.Hour
)

// Authority is the certificate authority of one embedded etcd. Everyone who
// has the token has the same authority, and nobody else has.
type Authority struct {
	// Now is the clock certificates are dated by; nil means time.Now.
	Now func() time.Time

	key  ed25519.PrivateKey
	cert *x509.Certificate
}

// NewToken makes a token: 32 random bytes in base64url.
func NewToken() string {
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // never fails
	return base64.RawURLEncoding.EncodeToString(secret)
}

// New derives the authority of a token. The error does not repeat
// the token.
func New(token string) (*Authority, error) {
	secret, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(secret) != tokenBytes {
		return nil, fmt.Errorf("the token is not one that gvlan printed: want %d characters of base64url, got %d characters",
			base64.RawURLEncoding.EncodedLen(tokenBytes), len(token))
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, derivation, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive the authority of the token: %w", err)
	}
	a := &Authority{key: ed25519.NewKeyFromSeed(seed)}
	if a.cert, err = selfSign(a.key); err != nil {
		return nil, err
	}
	return a, nil
}

// selfSign makes the authority's certificate: the same for the same key,
// since nothing in it is random and ed25519 signatures are not either.
func selfSign(key ed25519.PrivateKey) (*x509.Certificate, error) {
	id := sha256.Sum256(key.Public().(ed25519.PublicKey))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "gvlan etcd authority"},
		NotBefore:             time.Unix(0, 0).UTC(),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 4.1.2.5: without end
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
		SubjectKeyId:          id[:20],
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of the authority: %w", err)
	}
	return cert, nil
}

// Root is the certificate all others of this authority are signed by.
func (a *Authority) Root() *x509.Certificate { return a.cert }

// Client returns what a node connects to the embedded etcd with: it trusts
// servers of this authority only, and shows a certificate of its own, made
// here and renewed here.
func (a *Authority) Client(node string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	own := &renewed{now: a.clock, issue: func() (*tls.Certificate, error) { return a.issueClient(node) }}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    roots,
		ServerName: serverName,
		Time:       a.clock,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return own.get()
		},
	}
}

func (a *Authority) issueClient(node string) (*tls.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: node},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, nil)
}

// Server makes the server's certificate, for key or, when that is nil,
// for a new one. Names and addresses are for other tools; gvlan's own
// clients ask for serverName.
func (a *Authority) Server(names []string, addrs []netip.Addr, key ed25519.PrivateKey) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: serverName},
		DNSNames:    append([]string{serverName, "localhost"}, names...),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, addr := range addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.Unmap().AsSlice()))
	}
	return a.issue(template, key)
}

func (a *Authority) issue(template *x509.Certificate, key ed25519.PrivateKey) (*tls.Certificate, error) {
	if key == nil {
		_, fresh, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		key = fresh
	}
	now := a.clock()
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(lifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", template.Subject.CommonName, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", template.Subject.CommonName, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func (a *Authority) clock() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}

// RenewAt is when a certificate is to be replaced.
func RenewAt(cert *tls.Certificate) time.Time { return cert.Leaf.NotAfter.Add(-lifetime / 2) }

// renewed is a certificate that is replaced before it ends.
type renewed struct {
	now   func() time.Time
	issue func() (*tls.Certificate, error)

	mu   sync.Mutex
	cert *tls.Certificate
}

// get returns the certificate, making a new one when it is due.
func (r *renewed) get() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cert != nil && r.now().Before(RenewAt(r.cert)) {
		return r.cert, nil
	}
	cert, err := r.issue()
	if err != nil {
		return nil, err
	}
	r.cert = cert
	return cert, nil
}
