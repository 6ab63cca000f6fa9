package authority

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// ServerName is what clients ask a member's certificate for, whatever
	// address they reach it by: a member keeps it when its addresses change.
	ServerName = "etcd.gvlan.internal"
	// lifetime of a certificate; it is renewed when half of it is over. A host
	// that is off for longer has to join again: a lab may rest over a summer. Who
	// is to be shut out is revoked.
	lifetime = 365 * 24 * time.Hour
	// backdate is how far behind the clock of another host may be.
	backdate = 24 * time.Hour

	keyBlock         = "PRIVATE KEY"
	certificateBlock = "CERTIFICATE"
	serialBits       = 128
)

var (
	errKeyKind   = errors.New("not an ed25519 key")
	errAuthority = errors.New("not an authority that gvlan made: want its key and its certificate as PEM")
)

// Authority signs the certificates of one cluster. Its key is on the hosts of
// members only.
type Authority struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
}

// New makes an authority. It does not end: it is replaced when somebody wants
// that.
func New(now time.Time) (*Authority, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of an authority: %w", err)
	}
	id := sha256.Sum256(public)
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "gvlan authority"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 4.1.2.5: without end
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId:          id[:20],
	}
	cert, err := create(template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of an authority: %w", err)
	}
	return &Authority{key: key, cert: cert}, nil
}

// Parse reads what PEM wrote. The error does not repeat it.
func Parse(raw []byte) (*Authority, error) {
	all, err := parseAuthorities(raw)
	if err == nil && len(all) != 1 {
		err = errAuthority
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// parseAuthorities reads authorities that are written one after the other.
func parseAuthorities(raw []byte) ([]*Authority, error) {
	var all []*Authority
	for raw = bytes.TrimSpace(raw); len(raw) > 0; {
		keys, rest := pem.Decode(raw)
		certs, rest := pem.Decode(rest)
		if keys == nil || certs == nil || keys.Type != keyBlock || certs.Type != certificateBlock {
			return nil, errAuthority
		}
		key, err := parseKey(keys.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the key of an authority: %w", err)
		}
		cert, err := x509.ParseCertificate(certs.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the certificate of an authority: %w", err)
		}
		if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCRLSign == 0 || !isFor(cert, key) {
			return nil, errAuthority
		}
		all = append(all, &Authority{key: key, cert: cert})
		raw = bytes.TrimSpace(rest)
	}
	return all, nil
}

// PEM is the authority whole, its key among it.
func (a *Authority) PEM() []byte {
	return append(keyPEM(a.key), CertificatePEM(a.cert)...)
}

// Root is the certificate all others of this authority are signed by.
func (a *Authority) Root() *x509.Certificate { return a.cert }

// Fingerprint is that of its certificate.
func (a *Authority) Fingerprint() string { return Fingerprint(a.cert) }

// String leaves the key out.
func (a *Authority) String() string { return "authority " + a.Fingerprint() }

// GoString leaves the key out.
func (a *Authority) GoString() string { return a.String() }

// LogValue leaves the key out.
func (a *Authority) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Subject is whom a certificate is for.
type Subject struct {
	Node string
	// Member is a host that serves the store too; Names and Addresses are what
	// others may reach that one by, beside ServerName.
	Member    bool
	Names     []string
	Addresses []netip.Addr
}

// Sign makes the certificate that somebody asks for. csr is DER, as
// Identity.Request makes it; of what it says only the key is taken, after it
// was found to be signed with it and to name the same node.
func (a *Authority) Sign(csr []byte, s Subject, now time.Time) (*x509.Certificate, error) {
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request of %s: %w", s.Node, err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request of %s is not signed with its key: %w", s.Node, err)
	}
	key, ok := request.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("certificate request of %s: %w", s.Node, errKeyKind)
	}
	if s.Node == "" || request.Subject.CommonName != s.Node {
		return nil, fmt.Errorf("certificate request of node %q names node %q", s.Node, request.Subject.CommonName)
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: s.Node},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if s.Member {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = []string{ServerName}
		for _, name := range s.Names {
			if !slices.Contains(template.DNSNames, name) {
				template.DNSNames = append(template.DNSNames, name)
			}
		}
		for _, addr := range s.Addresses {
			template.IPAddresses = append(template.IPAddresses, net.IP(addr.Unmap().AsSlice()))
		}
	}
	cert, err := create(template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", s.Node, err)
	}
	return cert, nil
}

// RevocationList makes the list of certificates that are refused, by their
// serial numbers in hexadecimal. It is DER: etcd reads nothing else, and looks
// at the numbers only, so that one list serves for all authorities.
func (a *Authority) RevocationList(serials []string, now time.Time) ([]byte, error) {
	template := &x509.RevocationList{
		Number:     big.NewInt(now.UnixNano()),
		ThisUpdate: now.Add(-backdate),
		NextUpdate: now.Add(lifetime),
	}
	for _, serial := range serials {
		number, ok := new(big.Int).SetString(serial, 16)
		if !ok || number.Sign() <= 0 {
			return nil, fmt.Errorf("serial number %q of a certificate: want a hexadecimal number", serial)
		}
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: number, RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("make the list of refused certificates: %w", err)
	}
	return der, nil
}

// Fingerprint is the hexadecimal SHA-256 of a certificate.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Serial is a certificate's serial number as a record spells it: hexadecimal.
func Serial(cert *x509.Certificate) string {
	return fmt.Sprintf("%0*x", serialBits/4, cert.SerialNumber)
}

// RenewAt is when a certificate is to be replaced: half its life before it
// ends.
func RenewAt(cert *x509.Certificate) time.Time {
	return cert.NotAfter.Add(-cert.NotAfter.Sub(cert.NotBefore) / 2)
}

// CertificatePEM spells certificates, one after the other.
func CertificatePEM(certs ...*x509.Certificate) []byte {
	var raw []byte
	for _, cert := range certs {
		raw = append(raw, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: cert.Raw})...)
	}
	return raw
}

// ParseRoots reads the certificates of authorities, of which there must be one
// at least.
func ParseRoots(raw []byte) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for {
		block, rest := pem.Decode(raw)
		if block == nil {
			break
		}
		raw = rest
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read the certificate of an authority: %w", err)
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("the certificate of %q is not that of an authority", cert.Subject.CommonName)
		}
		roots = append(roots, cert)
	}
	if len(roots) == 0 || len(bytes.TrimSpace(raw)) > 0 {
		return nil, errors.New("certificates of authorities: want them as PEM, one at least")
	}
	return roots, nil
}

// signer finds the authority that signed a certificate; nil: none of them.
func signer(cert *x509.Certificate, roots []*x509.Certificate) *x509.Certificate {
	for _, root := range roots {
		if bytes.Equal(cert.AuthorityKeyId, root.SubjectKeyId) && cert.CheckSignatureFrom(root) == nil {
			return root
		}
	}
	return nil
}

// create makes a certificate and reads it.
func create(template, parent *x509.Certificate, public ed25519.PublicKey, key ed25519.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newSerial is a random number that is never 0.
func newSerial() *big.Int {
	raw := make([]byte, serialBits/8)
	_, _ = rand.Read(raw) // never fails
	raw[0] = cmp.Or(raw[0], 1)
	return new(big.Int).SetBytes(raw)
}

// number makes one spelling of a serial number's several.
func number(serial string) string { return strings.TrimLeft(strings.ToLower(serial), "0") }

func keyPEM(key ed25519.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err) // every ed25519 key has this form
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der})
}

// parseKey reads a key. The error does not repeat it.
func parseKey(der []byte) (ed25519.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errKeyKind // what x509 says may tell of the bytes
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errKeyKind
	}
	return key, nil
}

// isFor reports whether a certificate is for a key.
func isFor(cert *x509.Certificate, key ed25519.PrivateKey) bool {
	public, ok := cert.PublicKey.(ed25519.PublicKey)
	return ok && len(key) > 0 && public.Equal(key.Public())
}
