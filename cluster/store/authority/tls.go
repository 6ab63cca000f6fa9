package authority

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Client returns what this host connects to members with, to their etcd and to
// their doors. Each handshake goes by what the identity holds then: it shows
// the node's certificate, if there is one, and trusts members of the cluster
// that are not refused.
func (i *Identity) Client() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		Time:       i.now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			i.mu.RLock()
			defer i.mu.RUnlock()
			if i.own.cert == nil {
				return &tls.Certificate{}, nil // none is shown
			}
			return i.own.certificate(nil), nil
		},
		// The authorities change while this is in use: VerifyConnection does
		// all that is not done here.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return i.verify(state.PeerCertificates, ServerName, x509.ExtKeyUsageServerAuth)
		},
	}
}

// Server returns what this host serves its door with. It shows the member's
// certificate and the authority that signed it, so that who knows no more than
// a token's fingerprint can judge it. Who connects need not show a certificate;
// one that is shown is of the cluster and not refused, or the handshake fails.
// So the first of ConnectionState.PeerCertificates is proven where there is
// one; VerifiedChains are empty.
func (i *Identity) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       i.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			i.mu.RLock()
			defer i.mu.RUnlock()
			if i.serving.cert == nil {
				return nil, ErrNoCertificate
			}
			return i.serving.certificate(signer(i.serving.cert, i.roots)), nil
		},
		ClientAuth: tls.RequestClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			return i.verify(state.PeerCertificates, "", x509.ExtKeyUsageClientAuth)
		},
		SessionTicketsDisabled: true, // each connection is judged anew
	}
}

// certificate is the pair as TLS shows it; root is shown with it unless nil.
func (p pair) certificate(root *x509.Certificate) *tls.Certificate {
	shown := &tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
	if root != nil {
		shown.Certificate = append(shown.Certificate, root.Raw)
	}
	return shown
}

// verify judges the certificates that the other side presented. Its errors are
// those of a handshake that crypto/tls judges itself.
func (i *Identity) verify(presented []*x509.Certificate, name string, usage x509.ExtKeyUsage) error {
	leaf := presented[0] // a server shows one, and a client's was looked for
	err := chains(leaf, i.RootCertificates(), name, usage, i.now())
	if err == nil && i.Refused(Serial(leaf)) {
		err = fmt.Errorf("%w: that of node %s, serial number %s", ErrRefused, leaf.Subject.CommonName, Serial(leaf))
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: presented, Err: err}
	}
	return nil
}

// chains says what keeps a certificate from being one of these authorities',
// for that use and name ("": any), at that time.
func chains(leaf *x509.Certificate, roots []*x509.Certificate, name string, usage x509.ExtKeyUsage, now time.Time) error {
	if len(roots) == 0 {
		return ErrNoRoots
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}
