package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"

	"gvlan/cluster/store"
	"gvlan/cluster/store/embedded"
)

// truth is the etcd this agent uses: a client, and the server too when it is
// the embedded one.
type truth struct {
	server    *embedded.Server // nil: somebody else's
	etcd      *store.Etcd
	endpoints []string
	log       *slog.Logger
	join      string // the line another host joins with; "" when none can
}

// newTruth prepares client and server. Neither connects before run.
func newTruth(c Config, self identity, log *slog.Logger) (t *truth, err error) {
	t = &truth{log: log}
	client := store.EtcdConfig{Prefix: c.Etcd.Prefix, User: c.Etcd.User, Password: c.Etcd.Password, Log: log}
	switch c.mode() {
	case modeExternal:
		client.Endpoints = c.Etcd.Endpoints
		client.TLS, err = store.TLSFiles(c.Etcd.CA, c.Etcd.Cert, c.Etcd.Key)
	case modeJoin:
		client.Endpoints = []string{c.Join.Address}
		if c.Join.Token != "" {
			client.TLS, err = joinTLS(c.Join.Token, self.Node)
		}
	default:
		if t.server, err = newServer(c, self, log); err == nil {
			client.Endpoints = []string{t.server.Endpoint()}
		}
	}
	if err != nil {
		return nil, err
	}
	t.endpoints = client.Endpoints
	t.etcd, err = store.NewEtcd(client)
	if t.server != nil && c.Etcd.Listen != "" {
		t.join = joinLine(c, t.server.Token())
	}
	return t, err
}

// newServer prepares the embedded etcd.
func newServer(c Config, self identity, log *slog.Logger) (*embedded.Server, error) {
	return embedded.New(embedded.Config{
		Dir:   filepath.Join(c.DataDir, "etcd"),
		Local: net.JoinHostPort("127.0.0.1", strconv.Itoa(int(c.Etcd.ClientPort))), Listen: c.Etcd.Listen, Insecure: c.Etcd.Insecure,
		Names: []string{self.Host}, Log: log,
	})
}

// joinLine is what a user types on another host.
func joinLine(c Config, token string) string {
	host, port, err := net.SplitHostPort(c.Etcd.Listen)
	if err != nil {
		return ""
	}
	if addr := net.ParseIP(host); host == "" || (addr != nil && addr.IsUnspecified()) {
		if at, err := advertised(c); err == nil {
			host = at.String()
		}
	}
	line := "gvlan agent --join " + net.JoinHostPort(host, port)
	if token != "" {
		line += " --token " + token
	}
	return line
}

// joinTLS is how an agent speaks to the embedded etcd it joined.
func joinTLS(token, node string) (*tls.Config, error) {
	authority, err := embedded.NewAuthority(token)
	if err != nil {
		return nil, fmt.Errorf("use --token: %w", err)
	}
	return authority.Client(node), nil
}

// run runs the server where there is one, until ctx ends.
func (t *truth) run(ctx context.Context) error {
	if t.server == nil {
		<-ctx.Done()
		return nil
	}
	if t.join != "" {
		t.log.Info("other hosts join this one with: " + t.join)
	}
	return t.server.Run(ctx)
}

func (t *truth) close() error {
	if t.etcd == nil {
		return nil
	}
	return t.etcd.Close()
}
