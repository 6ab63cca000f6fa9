package agent

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gvlan/cluster/events"
	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/hosting"
	"gvlan/cmd/internal/config"
)

// truth is the etcd this agent uses: a client, and this host's part in the
// cluster's own store where it is that.
type truth struct {
	own       *hosting.Store // nil: somebody else's etcd
	client    *etcd.Client   // nil: backend is no etcd
	backend   store.Backend  // the client
	endpoints []string       // of somebody else's
	log       *slog.Logger
}

// newTruth prepares the client and what it needs. Nothing connects before run.
// Other hosts reach this one by address; it has that many networks.
func newTruth(c config.Config, self Identity, address netip.Addr, networks int, told events.Teller, log *slog.Logger) (t *truth, err error) {
	t = &truth{log: log}
	client := etcd.Config{Prefix: c.Etcd.Prefix, User: c.Etcd.User, Password: c.Etcd.Password, Log: log}
	if c.External() {
		client.Endpoints, t.endpoints = c.Etcd.Endpoints, c.Etcd.Endpoints
		client.TLS, err = etcd.TLSFiles(c.Etcd.CA, c.Etcd.Cert, c.Etcd.Key)
	} else if t.own, err = openOwn(c, self, address, networks, told, log); err == nil {
		client.Endpoints, client.TLS, client.Broken = t.own.Endpoints(), t.own.TLS(), t.own.Trouble
	}
	if err != nil {
		return nil, err
	}
	if t.client, err = etcd.New(client); err != nil {
		return nil, err
	}
	t.backend = t.client
	return t, nil
}

// openOwn prepares this host's part in the cluster's own store. The host has that
// many networks.
func openOwn(c config.Config, self Identity, address netip.Addr, networks int, told events.Teller, log *slog.Logger) (*hosting.Store, error) {
	own := hosting.Config{
		Dir: c.DataDir, Node: self.Node, Install: self.Install, Host: self.Host, Address: address,
		Prefix: c.Etcd.Prefix, Listen: c.Etcd.Listen, Client: c.Swarm, Networks: networks, Token: c.JoinToken,
		Patience: c.Etcd.MemberGone, Events: told, Now: time.Now, Log: log,
	}
	if c.Join.Address != "" {
		own.Join = hosting.WithPort(c.Join.Address)
	}
	return hosting.Open(own)
}

// run does this host's part in the store until ctx ends.
func (t *truth) run(ctx context.Context, kv store.KV) error {
	if t.own == nil {
		<-ctx.Done()
		return nil
	}
	return t.own.Run(ctx, kv, t.client)
}

// addresses are where the store is looked for.
func (t *truth) addresses() []string {
	if t.own == nil {
		return t.endpoints
	}
	return t.own.Endpoints()
}

// memberHosts are the hosts that run members of the cluster's own store, as far
// as this one knows.
func (t *truth) memberHosts() (hosts []string) {
	for _, address := range t.addresses() {
		if host, _, err := net.SplitHostPort(address); err == nil && t.own != nil && !t.solo() {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// standing says in a sentence whose store this agent uses.
func (t *truth) standing() string {
	switch {
	case t.own == nil:
		return "uses an existing etcd cluster"
	case t.own.Standing() == hosting.Joining:
		return "waits to be let into the cluster it was told to join"
	case t.own.Standing() == hosting.Cluster:
		return "is of a cluster that keeps its own store"
	}
	return "is solo: its networks and addresses are known to this host only, until others join it (gvlan init) or it joins others (gvlan join, --etcd-endpoints)"
}

// solo reports whether no other host shares this agent's store.
func (t *truth) solo() bool { return t.own != nil && t.own.Standing() == hosting.Solo }

// storeAddress is where this host serves, or would serve, a member of the
// cluster's own store; "" where it never does.
func (t *truth) storeAddress() string {
	if t.own == nil {
		return ""
	}
	return t.own.Base()
}

// Close gives the connections back.
func (t *truth) Close() error {
	if t.client == nil {
		return nil
	}
	return t.client.Close()
}
