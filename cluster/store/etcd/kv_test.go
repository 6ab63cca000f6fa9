package etcd_test

import (
	"testing"

	"gvlan/cluster/store/embedded"
	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
	"gvlan/cluster/store/storetest"
)

func TestEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtest.Serve(t, embedded.Config{})
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return etcdtest.Open(t, etcd.Config{Endpoints: []string{server.Endpoint()}})
	})
}

func TestEtcdOverTLS(t *testing.T) {
	t.Parallel()
	of := etcdtest.NewAuthority(t)
	server := of.Member(t, of.Identity(t, "server", true), "server")
	etcdtest.Serve(t, server)
	client := of.Client(t, "node")
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return etcdtest.Open(t, etcd.Config{Endpoints: []string{"https://" + server.Listen.String()}, TLS: client})
	})
}
