package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// EtcdProgram is the package of the etcd server's program.
const EtcdProgram = "gvlan/tests/lab/etcd"

// EtcdOptions says how an etcd server is run.
type EtcdOptions struct {
	// On is the machine it runs on; nil is the LAN machine, where it gets an address
	// of its own: 10.99.0.250 the first, 10.99.0.249 the next.
	On *Machine
	// TLS makes it ask every client for a certificate of this authority.
	TLS *Authority
	// Binary is the program, as Build makes it of EtcdProgram; "" has it built.
	Binary string
	// Flags are further flags of etcd, as in "--quota-backend-bytes=16777216".
	Flags []string
}

// Etcd is an etcd server, real and of the version in go.mod, with its data in memory.
// Its Process ends with Stop and Kill, and hangs with Pause.
type Etcd struct {
	*Process
	// Addr is where it serves clients.
	Addr netip.AddrPort

	machine *Machine
	options EtcdOptions
	name    string
	binary  string
	dir     string // data directory inside the machine
}

// Endpoint is the URL clients use.
func (e *Etcd) Endpoint() string { return e.scheme() + "://" + e.Addr.String() }

func (e *Etcd) scheme() string {
	if e.options.TLS != nil {
		return "https"
	}
	return "http"
}

// Start starts the server, again after it ended, and returns when it answers.
func (e *Etcd) Start(ctx context.Context) error {
	peer := e.peer()
	args := []string{
		"--name", e.name, "--data-dir", e.dir, "--log-level", "warn",
		// A lone server elects itself within the second number; the first is how often each
		// of a dozen servers beside one another wakes up.
		"--heartbeat-interval", "50", "--election-timeout", "250",
		"--listen-client-urls", e.Endpoint(), "--advertise-client-urls", e.Endpoint(),
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", e.name + "=" + peer,
	}
	if e.options.TLS != nil {
		cert, err := e.options.TLS.Issue(e.name, e.Addr.Addr())
		if err != nil {
			return err
		}
		args = append(args, "--client-cert-auth", "--trusted-ca-file", cert.CA, "--cert-file", cert.Cert, "--key-file", cert.Key)
	}
	var err error
	if e.Process, err = e.machine.Start(e.name, nil, e.binary, append(args, e.options.Flags...)...); err != nil {
		return err
	}
	return e.ready(ctx)
}

// ready returns when the server answers a read. The port comes first: a client whose
// first attempt is refused waits a second before its next (gRPC connection backoff).
func (e *Etcd) ready(ctx context.Context) error {
	err := e.await(ctx, func(ctx context.Context) error {
		conn, err := e.machine.DialContext(ctx, "tcp", e.Addr.String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return err
	}
	client, err := e.Client()
	if err != nil {
		return err
	}
	defer client.Close()
	return e.await(ctx, func(ctx context.Context) error {
		_, err := client.Get(ctx, "health")
		return err
	})
}

// Client makes a client for this process: its connections start in the LAN machine,
// so it also works while hosts are cut off.
func (e *Etcd) Client() (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: []string{e.Endpoint()},
		Logger:    zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return e.machine.lab.LAN.DialContext(ctx, "tcp", addr)
		})},
	}
	if e.options.TLS != nil {
		var err error
		if cfg.TLS, err = e.clientTLS(); err != nil {
			return nil, err
		}
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client of %s: %w", e.name, err)
	}
	return client, nil
}

func (e *Etcd) clientTLS() (*tls.Config, error) {
	cert, err := e.options.TLS.Issue("lab-client")
	if err != nil {
		return nil, err
	}
	return cert.Config()
}

// Wipe removes the data of a stopped server: it comes back empty.
func (e *Etcd) Wipe() error {
	if err := os.RemoveAll(e.machine.Path(e.dir)); err != nil {
		return fmt.Errorf("wipe %s: %w", e.name, err)
	}
	return nil
}

// Save copies the data of a stopped server to a directory that must not exist.
func (e *Etcd) Save(dir string) error {
	if err := os.CopyFS(dir, os.DirFS(e.machine.Path(e.dir))); err != nil {
		return fmt.Errorf("save %s: %w", e.name, err)
	}
	return nil
}

// Restore replaces the data of a stopped server by what Save copied: the server
// comes back as it was then, and knows nothing of what came after.
func (e *Etcd) Restore(dir string) error {
	if err := e.Wipe(); err != nil {
		return err
	}
	to := e.machine.Path(filepath.Clean(e.dir))
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		return fmt.Errorf("restore %s: %w", e.name, err)
	}
	return nil
}

// Backup writes a snapshot of a running server to a file, as `etcdctl snapshot
// save` does.
func (e *Etcd) Backup(ctx context.Context, client *clientv3.Client, file string) error {
	taken, err := client.SnapshotWithVersion(ctx)
	if err != nil {
		return fmt.Errorf("back %s up: %w", e.name, err)
	}
	defer taken.Snapshot.Close()
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	defer to.Close()
	if _, err := to.ReadFrom(taken.Snapshot); err != nil {
		return fmt.Errorf("back %s up: %w", e.name, err)
	}
	return nil
}

// RestoreBackup replaces the data of a stopped server by a backup, as `etcdutl
// snapshot restore` does; with bump as its --bump-revision and --mark-compacted.
func (e *Etcd) RestoreBackup(file string, bump uint64) error {
	if err := e.Wipe(); err != nil {
		return err
	}
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, Name: e.name, OutputDataDir: e.machine.Path(e.dir),
		PeerURLs: []string{e.peer()}, InitialCluster: e.name + "=" + e.peer(), InitialClusterToken: "etcd-cluster",
		RevisionBump: bump, MarkCompacted: bump > 0,
	})
	if err != nil {
		return fmt.Errorf("restore %s from a backup: %w", e.name, err)
	}
	return nil
}

// peer is the URL that other members would use.
func (e *Etcd) peer() string { return "http://" + netip.AddrPortFrom(e.Addr.Addr(), 2380).String() }

// Authority is a certificate authority of a lab. Its files lie below the lab's
// directory, which every machine sees.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Certificate names the PEM files of a certificate, good for servers and clients.
type Certificate struct {
	CA, Cert, Key string
}

// Issue makes a certificate for a name and addresses.
func (a *Authority) Issue(name string, addrs ...netip.Addr) (Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, fmt.Errorf("issue certificate of %s: %w", name, err)
	}
	cert := template(name)
	cert.DNSNames = []string{name}
	for _, addr := range addrs {
		cert.IPAddresses = append(cert.IPAddresses, net.IP(addr.AsSlice()))
	}
	cert.KeyUsage = x509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if err := a.write(name, cert, key); err != nil {
		return Certificate{}, fmt.Errorf("issue certificate of %s: %w", name, err)
	}
	return Certificate{CA: a.path("ca.pem"), Cert: a.path(name + ".pem"), Key: a.path(name + ".key")}, nil
}

// Config reads the files into the configuration of a client of this process.
func (c Certificate) Config() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
}

func (a *Authority) path(name string) string { return filepath.Join(a.dir, name) }

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}

func (a *Authority) write(name string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(a.path(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(a.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600),
	)
}
