package authority

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

var (
	// ErrOtherNode is a certificate for another node than this one: the host
	// was renamed, or its disk is a copy of another's.
	ErrOtherNode = errors.New("certificate is for another node")
	// ErrOtherKey is a certificate for another key than the one it came for.
	ErrOtherKey = errors.New("certificate is for another key")
	// ErrNoRoots is an identity that knows no authority: it is of no cluster.
	ErrNoRoots = errors.New("this host has no certificate of an authority: it has joined no cluster")
	// ErrNoCertificate is an identity without the certificate that is needed.
	ErrNoCertificate = errors.New("this host has no certificate as a member")
	// ErrRefused is a certificate that was revoked.
	ErrRefused = errors.New("certificate was revoked")
)

// Identity is who this host is to the others of its cluster: a folder of keys
// and certificates, and the TLS configurations that follow them. It is safe for
// concurrent use; a folder has one Identity at a time.
type Identity struct {
	dir  string
	node string
	now  func() time.Time

	// writing is held while files change or are read together.
	writing sync.Mutex

	mu      sync.RWMutex // never held while the disk is waited for
	own     pair         // as a node
	serving pair         // as a member
	roots   []*x509.Certificate
	listed  []string // serial numbers in refused.crl
	told    []string // serial numbers that SetRefused was given
	refused map[string]bool
	changed chan struct{} // closed when refused changes
}

// pair is a key and the certificate for it, which outlives no other key.
type pair struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
}

// OpenIdentity makes the folder where it is missing and reads what it holds,
// which may be nothing. What it holds for another node is ErrOtherNode.
func OpenIdentity(dir, node string, now func() time.Time) (*Identity, error) {
	if err := prepare(dir); err != nil {
		return nil, fmt.Errorf("open the identity of this host: %w", err)
	}
	i := &Identity{dir: dir, node: node, now: now, refused: map[string]bool{}, changed: make(chan struct{})}
	var err error
	if i.own, err = i.load(nodeKeyFile, nodeCertFile); err != nil {
		return nil, err
	}
	if i.serving, err = i.load(memberKeyFile, memberCertFile); err != nil {
		return nil, err
	}
	raw, err := read(i.path(rootsFile))
	if err == nil && raw != nil {
		i.roots, err = ParseRoots(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", i.path(rootsFile), err)
	}
	raw, err = read(i.path(refusedFile))
	if err == nil && raw != nil {
		var list *x509.RevocationList
		if list, err = x509.ParseRevocationList(raw); err == nil {
			i.listed = serialsOf(list)
			i.count()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", i.path(refusedFile), err)
	}
	return i, nil
}

// load reads a key and the certificate for it.
func (i *Identity) load(keyFile, certFile string) (pair, error) {
	var p pair
	raw, err := read(i.path(keyFile))
	if err == nil && raw != nil {
		p.key, err = decodeKey(raw)
	}
	if err != nil {
		return pair{}, fmt.Errorf("read %s: %w", i.path(keyFile), err)
	}
	raw, err = read(i.path(certFile))
	if err == nil && raw != nil {
		p.cert, err = decodeCertificate(raw)
	}
	if err == nil && p.cert != nil {
		err = i.isMine(p.cert, p.key)
	}
	if err != nil {
		return pair{}, fmt.Errorf("read %s: %w", i.path(certFile), err)
	}
	return p, nil
}

// Request asks for a certificate: DER for Authority.Sign. The key is made the
// first time, one for the node and one for the member, and stays when the
// certificate is renewed: whoever reads the two files while one is replaced
// finds a pair.
func (i *Identity) Request(member bool) ([]byte, error) {
	i.writing.Lock()
	defer i.writing.Unlock()
	p, name := &i.own, nodeKeyFile
	if member {
		p, name = &i.serving, memberKeyFile
	}
	i.mu.RLock()
	key := p.key
	i.mu.RUnlock()
	if key == nil {
		_, fresh, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		if err := write(i.path(name), keyPEM(fresh)); err != nil {
			return nil, fmt.Errorf("keep the key of this host: %w", err)
		}
		key = fresh
		i.mu.Lock()
		p.key = key
		i.mu.Unlock()
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: i.node}}, key)
	if err != nil {
		return nil, fmt.Errorf("ask for a certificate: %w", err)
	}
	return csr, nil
}

// Accept takes the certificate (DER) that Request(false) asked for, and the
// authorities (PEM) of the cluster; without any it is held against those that
// are known. Nothing changes unless it is this node's, for its key and signed
// by one of them.
func (i *Identity) Accept(cert, roots []byte) error {
	i.writing.Lock()
	defer i.writing.Unlock()
	known := i.RootCertificates()
	if len(roots) > 0 {
		var err error
		if known, err = ParseRoots(roots); err != nil {
			return err
		}
	}
	i.mu.RLock()
	key := i.own.key
	i.mu.RUnlock()
	leaf, err := i.judge(cert, key, known, "", x509.ExtKeyUsageClientAuth)
	if err != nil {
		return fmt.Errorf("take the certificate of this host: %w", err)
	}
	// The authorities first: a certificate without its own is of no use, and
	// they do no harm without it.
	if err := i.keepRoots(known); err != nil {
		return err
	}
	if err := write(i.path(nodeCertFile), CertificatePEM(leaf)); err != nil {
		return fmt.Errorf("keep the certificate of this host: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.own.cert = leaf
	return nil
}

// AcceptMember takes the certificate (DER) that Request(true) asked for.
// Nothing changes unless it is this node's, for its key, for members, and
// signed by an authority that is known.
func (i *Identity) AcceptMember(cert []byte) error {
	i.writing.Lock()
	defer i.writing.Unlock()
	i.mu.RLock()
	key := i.serving.key
	i.mu.RUnlock()
	known := i.RootCertificates()
	leaf, err := i.judge(cert, key, known, ServerName, x509.ExtKeyUsageServerAuth)
	if err == nil {
		_, err = i.judge(cert, key, known, "", x509.ExtKeyUsageClientAuth)
	}
	if err != nil {
		return fmt.Errorf("take the certificate of this member: %w", err)
	}
	if err := write(i.path(memberCertFile), CertificatePEM(leaf)); err != nil {
		return fmt.Errorf("keep the certificate of this member: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serving.cert = leaf
	return nil
}

// DropMember removes what the host was a member with, but for its custody.
func (i *Identity) DropMember() error {
	i.writing.Lock()
	defer i.writing.Unlock()
	i.mu.Lock()
	i.serving = pair{}
	i.listed = nil
	i.count()
	i.mu.Unlock()
	// The certificate goes before its key: alone it would be nobody's.
	if err := remove(i.path(memberCertFile), i.path(memberKeyFile), i.path(refusedFile)); err != nil {
		return fmt.Errorf("remove the certificate of this member: %w", err)
	}
	return nil
}

// SetRoots takes the authorities (PEM) of the cluster from now on.
func (i *Identity) SetRoots(raw []byte) error {
	roots, err := ParseRoots(raw)
	if err != nil {
		return err
	}
	i.writing.Lock()
	defer i.writing.Unlock()
	return i.keepRoots(roots)
}

// keepRoots writes authorities and goes by them. The caller holds writing.
func (i *Identity) keepRoots(roots []*x509.Certificate) error {
	if slices.EqualFunc(roots, i.RootCertificates(), (*x509.Certificate).Equal) {
		return nil
	}
	if err := write(i.path(rootsFile), CertificatePEM(roots...)); err != nil {
		return fmt.Errorf("keep the authorities of the cluster: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roots = roots
	return nil
}

// Roots are the certificates of the cluster's authorities as PEM; nil: none.
func (i *Identity) Roots() []byte { return CertificatePEM(i.RootCertificates()...) }

// RootCertificates are the certificates of the cluster's authorities.
func (i *Identity) RootCertificates() []*x509.Certificate {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return slices.Clone(i.roots)
}

// Certificate is this host's as a node; nil: it has none.
func (i *Identity) Certificate() *x509.Certificate {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.own.cert
}

// MemberCertificate is this host's as a member; nil: it has none.
func (i *Identity) MemberCertificate() *x509.Certificate {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.serving.cert
}

// Files are where etcd finds what it reads, once it is there.
func (i *Identity) Files() Files {
	return Files{Cert: i.path(memberCertFile), Key: i.path(memberKeyFile), CA: i.path(rootsFile), CRL: i.path(refusedFile)}
}

// Forget removes all that the folder holds: the host is of no cluster then.
func (i *Identity) Forget() error {
	i.writing.Lock()
	defer i.writing.Unlock()
	i.mu.Lock()
	i.own, i.serving, i.roots, i.listed, i.told = pair{}, pair{}, nil, nil, nil
	i.count()
	i.mu.Unlock()
	// What others could do harm with goes first, and a certificate before its
	// key.
	err := prepare(i.dir)
	if err == nil {
		err = remove(i.path(authorityFile), i.path(secretFile), i.path(memberCertFile), i.path(memberKeyFile),
			i.path(nodeCertFile), i.path(nodeKeyFile), i.path(rootsFile), i.path(refusedFile))
	}
	if err != nil {
		return fmt.Errorf("remove the identity of this host: %w", err)
	}
	return nil
}

// judge reads a certificate and finds out whether it is this host's.
func (i *Identity) judge(der []byte, key ed25519.PrivateKey, roots []*x509.Certificate, name string, usage x509.ExtKeyUsage) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := i.isMine(leaf, key); err != nil {
		return nil, err
	}
	return leaf, chains(leaf, roots, name, usage, i.now())
}

// isMine says what keeps a certificate from being this node's for that key.
func (i *Identity) isMine(cert *x509.Certificate, key ed25519.PrivateKey) error {
	if cert.Subject.CommonName != i.node {
		return fmt.Errorf("%w: it is for %q, and this node is %q", ErrOtherNode, cert.Subject.CommonName, i.node)
	}
	if !isFor(cert, key) {
		return ErrOtherKey
	}
	return nil
}

func (i *Identity) path(name string) string { return filepath.Join(i.dir, name) }

func decodeKey(raw []byte) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != keyBlock || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errKeyKind
	}
	return parseKey(block.Bytes)
}

func decodeCertificate(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != certificateBlock {
		return nil, errors.New("not a certificate as PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
