package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc/credentials"
)

// handshakes are the TLS credentials of a client, and remember how the last
// handshake ended: gRPC passes on no more than its text.
type handshakes struct {
	credentials.TransportCredentials
	last *lastHandshake
}

type lastHandshake struct {
	mu  sync.Mutex
	err error // nil after one that succeeded
}

// newHandshakes are credentials for a TLS configuration; nil means the host's
// own authorities.
func newHandshakes(config *tls.Config) *handshakes {
	return &handshakes{TransportCredentials: credentials.NewTLS(config), last: &lastHandshake{}}
}

// ClientHandshake implements credentials.TransportCredentials.
func (h *handshakes) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	h.last.mu.Lock()
	defer h.last.mu.Unlock()
	h.last.err = err
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{TransportCredentials: h.TransportCredentials.Clone(), last: h.last}
}

// explain gives the error of a request that ran out of time the words for what
// is wrong with the certificates, where that is what kept it waiting. A nil h
// is a client without TLS.
func (h *handshakes) explain(err error) error {
	if h == nil || err == nil || !isAny(err, context.DeadlineExceeded, context.Canceled) {
		return err
	}
	h.last.mu.Lock()
	defer h.last.mu.Unlock()
	if words := wordsFor(h.last.err); words != "" {
		return &handshakeError{words: words, request: err, cause: h.last.err}
	}
	return err
}

// wordsFor says what a failed handshake means for who set gvlan up; "" when
// its own text says it better. The types are those of crypto/tls and
// crypto/x509.
func wordsFor(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &authority):
		return "its certificate is not signed by the authority this host was given (--etcd-ca, or --token of the agent that serves it)"
	case errors.As(err, &name):
		return "its certificate is for another host name than the endpoint's: give an endpoint that the certificate names"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is not valid at this host's time: renew it, or set the clock"
	}
	return ""
}

// handshakeError is a request that waited for a connection which TLS refuses.
type handshakeError struct {
	words          string
	request, cause error
}

// Error leaves the request's own end out: it only waited.
func (e *handshakeError) Error() string { return e.words + ": " + e.cause.Error() }

// Unwrap gives both.
func (e *handshakeError) Unwrap() []error { return []error{e.request, e.cause} }

// TLSFiles returns what a client of an etcd with TLS connects with: the
// authorities in the PEM file ca ("": those of the host), and the client
// certificate in the PEM files cert and key (both "": none), which are read
// again for each connection, so that renewing them needs no restart. It
// returns nil when all three are "".
func TLSFiles(ca, cert, key string) (*tls.Config, error) {
	if ca == "" && cert == "" && key == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		raw, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read the authority of etcd: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("authority of etcd %q: want a PEM file with a certificate", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("a client certificate for etcd needs both its certificate and its key file")
	}
	if cert == "" {
		return config, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate for etcd: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return config, nil
}
