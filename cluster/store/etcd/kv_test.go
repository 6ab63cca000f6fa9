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
	address := etcdtest.FreeAddress(t)
	server := etcdtest.Serve(t, embedded.Config{Listen: address})
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return etcdtest.Open(t, etcd.Config{Endpoints: []string{"https://" + address}, TLS: etcdtest.ClientTLS(t, server.Token())})
	})
}
