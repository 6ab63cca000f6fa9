package embedded

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"

	"gvlan/cluster/store/authority"
)

// handshakeLimit is what a client has to show its certificate.
const handshakeLimit = 10 * time.Second

var (
	errRefused     = errors.New("the certificate is refused")
	errNoAuthority = errors.New("it holds no certificate")
	errServesOnly  = errors.New("these credentials are a server's")
)

// keeper are the credentials of the server for clients. What it judges by is
// read for each connection, so that renewed certificates, another authority and
// refused serial numbers count at once; and it knows the connections that stand,
// so that they can be ended. etcd's own would do neither.
type keeper struct {
	config Config
	log    *zap.Logger

	mu    sync.Mutex
	conns map[*connection]struct{} // of clients with a certificate
}

func newKeeper(c Config, log *zap.Logger) *keeper {
	return &keeper{config: c, log: log, conns: map[*connection]struct{}{}}
}

// ServerHandshake implements credentials.TransportCredentials. Whoever comes
// by the unix socket was let in by its mode.
func (k *keeper) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if raw.LocalAddr().Network() == "unix" {
		// No word of the connection at all: etcd, which asks for certificates,
		// takes any for that of one.
		return raw, nil, nil
	}
	conn, info, err := k.handshake(raw)
	if err != nil {
		k.log.Warn("rejected connection", zap.String("from", raw.RemoteAddr().String()), zap.Error(err))
		return nil, nil, errors.Join(err, raw.Close())
	}
	return conn, info, nil
}

func (k *keeper) handshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := k.clientTLS()
	if err != nil {
		return nil, nil, err
	}
	if err := raw.SetDeadline(time.Now().Add(handshakeLimit)); err != nil { // gRPC lifts it
		return nil, nil, err
	}
	conn, info, err := credentials.NewTLS(config).ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	serials := []string{}
	if of, ok := info.(credentials.TLSInfo); ok {
		for _, cert := range of.State.PeerCertificates {
			serials = append(serials, authority.Serial(cert))
		}
	}
	known := &connection{Conn: conn, raw: raw, keeper: k, serials: serials}
	k.mu.Lock()
	k.conns[known] = struct{}{}
	k.mu.Unlock()
	if k.refuses(serials) { // since the handshake
		return nil, nil, errors.Join(errRefused, known.Close())
	}
	return known, info, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (k *keeper) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errServesOnly
}

// Info implements credentials.TransportCredentials.
func (k *keeper) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (k *keeper) Clone() credentials.TransportCredentials { return k }

// OverrideServerName implements credentials.TransportCredentials.
func (k *keeper) OverrideServerName(string) error { return errServesOnly }

// connection is a client's that showed a certificate.
type connection struct {
	net.Conn
	raw     net.Conn
	keeper  *keeper
	serials []string
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.keeper.mu.Lock()
	delete(c.keeper.conns, c)
	c.keeper.mu.Unlock()
	return c.Conn.Close()
}

// endRefused ends the connections of certificates that are refused from now
// on, until ctx ends.
func (k *keeper) endRefused(ctx context.Context) {
	if k.config.RefusedChanged == nil {
		return
	}
	for ctx.Err() == nil {
		changed := k.config.RefusedChanged()
		for _, c := range k.connections() {
			if k.refuses(c.serials) {
				_ = c.raw.Close() // no farewell, which would wait for who is refused; gRPC closes the rest
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (k *keeper) connections() (all []*connection) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		all = append(all, c)
	}
	return all
}

func (k *keeper) refuses(serials []string) bool {
	for _, serial := range serials {
		if k.config.Refused(serial) {
			return true
		}
	}
	return false
}

// clientTLS is how a client must prove itself now.
func (k *keeper) clientTLS() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(k.config.Files.Cert, k.config.Files.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the embedded etcd: %w", err)
	}
	authorities, err := pool(k.config.Files.CA)
	if err != nil {
		return nil, err
	}
	revoked, err := revocations(k.config.Files.CRL)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authorities,
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, cert := range state.PeerCertificates {
				if revoked(cert) || k.config.Refused(authority.Serial(cert)) {
					return errRefused
				}
			}
			return nil
		},
		SessionTicketsDisabled: true,
	}, nil
}

func pool(path string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of the embedded etcd: %w", err)
	}
	all := x509.NewCertPool()
	if !all.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("read the authorities of the embedded etcd in %s: %w", path, errNoAuthority)
	}
	return all, nil
}

// revocations reads a list of revoked certificates, in the form that etcd
// reads: DER. It is looked at by number only, as etcd does.
func revocations(path string) (revoked func(*x509.Certificate) bool, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the revoked certificates: %w", err)
	}
	list, err := x509.ParseRevocationList(raw)
	if err != nil {
		return nil, fmt.Errorf("read the revoked certificates in %s: %w", path, err)
	}
	return func(cert *x509.Certificate) bool {
		return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(cert.SerialNumber) == 0
		})
	}, nil
}
