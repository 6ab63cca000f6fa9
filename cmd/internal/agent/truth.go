package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cmd/internal/config"
)

// truth is the etcd this agent uses: a client, and the server too when it is
// the embedded one.
type truth struct {
	server    *embedded.Server // nil: somebody else's
	client    *etcd.Client     // nil: backend is no etcd
	backend   store.Backend    // the client
	endpoints []string
	log       *slog.Logger
	join      string                // the line another host joins with; "" when none can
	listen    string                // address others join at; "" for none
	joined    *tls.Config           // TLS towards the etcd of the host it joins; nil: it joins none
	damage    atomic.Pointer[error] // of the embedded etcd's data; nil: none was met
}

// newTruth prepares client and server. Neither connects before run. Other
// hosts reach this one by address.
func newTruth(c config.Config, self Identity, address netip.Addr, log *slog.Logger) (t *truth, err error) {
	t = &truth{log: log, listen: c.Etcd.Listen}
	client := etcd.Config{Prefix: c.Etcd.Prefix, User: c.Etcd.User, Password: c.Etcd.Password, Broken: t.broken, Log: log}
	switch c.Mode() {
	case config.ModeExternal:
		client.Endpoints = c.Etcd.Endpoints
		client.TLS, err = etcd.TLSFiles(c.Etcd.CA, c.Etcd.Cert, c.Etcd.Key)
	case config.ModeJoin:
		client.Endpoints = []string{c.Join.Address}
		t.joined, err = joinTLS(c.Join.Token, self.Node)
		client.TLS = t.joined
	default:
		if t.server, err = newServer(c, self, log); err == nil {
			client.Endpoints = []string{t.server.Endpoint()}
		}
	}
	if err != nil {
		return nil, err
	}
	t.endpoints = client.Endpoints
	if t.client, err = etcd.New(client); err != nil {
		return nil, err
	}
	t.backend = t.client
	if t.server != nil && c.Etcd.Listen != "" {
		t.join = joinLine(c, address, t.server.Token())
	}
	return t, nil
}

// newServer prepares the embedded etcd.
func newServer(c config.Config, self Identity, log *slog.Logger) (*embedded.Server, error) {
	return embedded.New(embedded.Config{
		Dir:    filepath.Join(c.DataDir, "etcd"),
		Listen: c.Etcd.Listen, Insecure: c.Etcd.Insecure,
		Names: []string{self.Host}, Log: log,
	})
}

// joinLine is what a user types on another host. Without TLS there is no token,
// and --join always uses TLS: other hosts then name the etcd by
// --etcd-endpoints, as any other.
func joinLine(c config.Config, address netip.Addr, token string) string {
	host, port, err := net.SplitHostPort(c.Etcd.Listen)
	if err != nil {
		return ""
	}
	if addr := net.ParseIP(host); host == "" || (addr != nil && addr.IsUnspecified()) {
		host = address.String()
	}
	at := net.JoinHostPort(host, port)
	if c.Etcd.Insecure {
		return "gvlan agent --etcd-endpoints http://" + at
	}
	return "gvlan agent --join " + at + " --token " + token
}

// joinTLS is how an agent speaks to the embedded etcd it joined.
func joinTLS(token, node string) (*tls.Config, error) {
	of, err := authority.New(token)
	if err != nil {
		return nil, fmt.Errorf("use --token: %w", err)
	}
	return of.Client(node), nil
}

// run runs the server where there is one, until ctx ends. When its data is
// damaged the agent goes on as while etcd is away, because containers need it.
func (t *truth) run(ctx context.Context) error {
	if t.server == nil {
		<-ctx.Done()
		return nil
	}
	if t.join != "" {
		t.log.Info("other hosts join this one with: " + t.join)
	}
	err := t.server.Run(ctx)
	if !errors.Is(err, embedded.ErrDamaged) {
		return t.explain(err)
	}
	t.damage.Store(&err)
	t.log.Error("the embedded etcd does not start: what runs goes on, no new address is given", "err", err)
	<-ctx.Done()
	return nil
}

// broken is why this agent's etcd cannot answer before the agent is restarted;
// nil while it can.
func (t *truth) broken() error {
	if err := t.damage.Load(); err != nil {
		return *err
	}
	return nil
}

// explain says which option is wrong where the kernel only says that an
// address is not this host's.
func (t *truth) explain(err error) error {
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return err
	}
	everywhere := "0.0.0.0"
	at, parseErr := netip.ParseAddrPort(t.listen)
	if parseErr != nil {
		return err
	}
	if at.Addr().Is6() {
		everywhere = "::"
	}
	return fmt.Errorf("--etcd-listen %s: this host does not have that address: give one of its own, or %s for all of them: %w",
		t.listen, net.JoinHostPort(everywhere, strconv.Itoa(int(at.Port()))), err)
}

// checkJoin refuses a token that the host it joins never printed.
func (t *truth) checkJoin(ctx context.Context) error {
	if t.joined == nil {
		return nil
	}
	return checkJoin(ctx, t.endpoints[0], t.joined)
}

// Close gives the connections back.
func (t *truth) Close() error {
	if t.client == nil {
		return nil
	}
	return t.client.Close()
}

// joinAnswer bounds the connection that checkJoin makes: half of what a status
// may take.
const joinAnswer = time.Second

// checkJoin returns an error when the host at address proves that the token is
// another cluster's: its certificate is of another authority. The etcd client
// cannot tell that from a host that is away, and tries both again for ever.
func checkJoin(ctx context.Context, address string, client *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, joinAnswer)
	defer cancel()
	conn, err := (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", address)
	if err == nil {
		return conn.Close()
	}
	if _, foreign := errors.AsType[x509.UnknownAuthorityError](err); foreign {
		return fmt.Errorf("--token is not the one %s printed: copy it from the line `gvlan agent --join %s --token ...` in that agent's log", address, address)
	}
	return nil
}
