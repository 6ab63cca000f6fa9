package door

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gvlan/cmd/internal/secretfile"
)

// Certificate is what the door shows: one that is given, read again whenever its
// files change, or one that is made here.
type Certificate struct {
	Cert, Key string // PEM files; the same one for one that is made here
	// Names are those that a certificate is made for, and addresses. None: it is
	// given, and not made.
	Names []string
	Now   func() time.Time
	Log   *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	read    [2]fs.FileInfo // Cert and Key as they were when pair was read
	failing bool           // and was told
}

const (
	// madeFor is how long a certificate is valid that is made here: browsers of
	// Apple refuse 825 days and more. It is made anew when little is left.
	madeFor = 800 * 24 * time.Hour
	left    = 30 * 24 * time.Hour
)

// get is the certificate as its files have it now. While those cannot be read, as
// between the two of a renewal, it is the one that was.
func (c *Certificate) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	read, err := c.files()
	if err == nil && c.pair != nil && same(read, c.read) && !c.ends() {
		return c.pair, nil
	}
	pair, err := c.load()
	if err == nil && len(c.Names) > 0 {
		read, err = c.files() // it may have been made just now
	}
	if err == nil {
		c.pair, c.read, c.failing = pair, read, false
		return pair, nil
	}
	if !c.failing {
		c.failing = true
		c.Log.Error("the certificate of the page cannot be read: tried again with every connection", "had", c.pair != nil, "err", err)
	}
	if c.pair != nil {
		return c.pair, nil
	}
	return nil, fmt.Errorf("the certificate of the page: %w", err)
}

func (c *Certificate) files() (all [2]fs.FileInfo, err error) {
	for i, path := range []string{c.Cert, c.Key} {
		if all[i], err = os.Stat(path); err != nil {
			return all, err
		}
	}
	return all, nil
}

func same(a, b [2]fs.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}

// ends reports whether one that is made here is to be made anew.
func (c *Certificate) ends() bool {
	return len(c.Names) > 0 && c.Now().After(c.pair.Leaf.NotAfter.Add(-left))
}

// load reads the files, or makes them where they are ours to make.
func (c *Certificate) load() (*tls.Certificate, error) {
	if err := secretfile.Check(c.Key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if len(c.Names) == 0 {
		return &pair, err
	}
	if err == nil && c.suits(pair.Leaf) {
		return &pair, nil
	}
	if err := c.make(); err != nil {
		return nil, fmt.Errorf("make one: %w", err)
	}
	pair, err = tls.LoadX509KeyPair(c.Cert, c.Key)
	return &pair, err
}

// suits reports whether a certificate that was made here is still what would be made.
func (c *Certificate) suits(leaf *x509.Certificate) bool {
	dns, addresses := c.subjects()
	if !slices.Equal(dns, leaf.DNSNames) || !slices.EqualFunc(addresses, leaf.IPAddresses, net.IP.Equal) {
		return false
	}
	now := c.Now()
	return now.After(leaf.NotBefore) && now.Before(leaf.NotAfter.Add(-left))
}

// subjects are the names, apart.
func (c *Certificate) subjects() (dns []string, addresses []net.IP) {
	for _, name := range c.Names {
		if addr, err := netip.ParseAddr(name); err == nil {
			addresses = append(addresses, net.IP(addr.Unmap().WithZone("").AsSlice()))
		} else {
			dns = append(dns, name)
		}
	}
	return dns, addresses
}

// make writes a certificate with its key, of which a power cut leaves all or none.
func (c *Certificate) make() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // browsers know no Ed25519
	if err != nil {
		return err
	}
	const serialBits = 128
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return err
	}
	now := c.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "gvlan on " + c.Names[0]}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(madeFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	template.DNSNames, template.IPAddresses = c.subjects()
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	err = errors.Join(pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	if err != nil {
		return err
	}
	return replace(c.Cert, text.Bytes())
}

// replace writes a file that only its owner may read.
func replace(path string, text []byte) error {
	draft, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = draft.Write(text)
	err = errors.Join(err, draft.Sync(), draft.Close())
	if err == nil {
		err = os.Rename(draft.Name(), path)
	}
	if err != nil {
		_ = os.Remove(draft.Name())
	}
	return err
}

// Fingerprint is the SHA-256 of the certificate as browsers show it, AB:CD:...
func (c *Certificate) Fingerprint() (string, error) {
	pair, err := c.get()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pair.Certificate[0])
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":"), nil
}
