package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const etcdProgram = "gvlan/tests/lab/etcd"

// EtcdOptions says how an etcd server is run.
type EtcdOptions struct {
	// On is the machine it runs on; nil is the LAN machine, where it gets an address
	// of its own: 10.99.0.250 the first, 10.99.0.249 the next.
	On *Machine
	// TLS makes it ask every client for a certificate of this authority.
	TLS *Authority
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

// NewEtcd starts an etcd server and returns when it answers.
func (l *Lab) NewEtcd(ctx context.Context, o EtcdOptions) (*Etcd, error) {
	built, err := Build(ctx, etcdProgram)
	if err != nil {
		return nil, err
	}
	e := &Etcd{machine: o.On, options: o}
	if e.binary, err = l.Install(built); err != nil {
		return nil, err
	}
	number := l.nextEtcd()
	e.name = fmt.Sprintf("etcd%d", number)
	e.dir = "/var/lib/etcd/" + e.name
	if e.machine == nil {
		e.machine = l.LAN.Machine
		v4, v6 := lanAddresses(etcdNumber - number)
		if err := e.machine.configure(bridge, v4, v6); err != nil {
			return nil, err
		}
		e.Addr = netip.AddrPortFrom(v4.Addr(), 2379)
	} else {
		e.Addr = netip.AddrPortFrom(e.machine.Addr4, 2379)
	}
	return e, e.Start(ctx)
}

func (l *Lab) nextEtcd() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.etcds++
	return l.etcds - 1
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
		"--heartbeat-interval", "10", "--election-timeout", "100", // a lone server elects itself at once
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
