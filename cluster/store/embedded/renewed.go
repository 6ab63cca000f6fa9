package embedded

import (
	"crypto/tls"
	"sync"
	"time"
)

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
	if r.cert != nil && r.now().Before(renewAt(r.cert)) {
		return r.cert, nil
	}
	cert, err := r.issue()
	if err != nil {
		return nil, err
	}
	r.cert = cert
	return cert, nil
}
