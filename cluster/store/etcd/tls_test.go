package etcd_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gvlan/cluster/store/etcd"
	"gvlan/cluster/store/etcdtest"
)

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := etcdtest.NewAuthority(t).Identity(t, "node", true).Files()
	ca, cert, key := files.CA, files.Cert, files.Key
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, ca, cert, key, want string }{
		{"authority away", junk + "x", "", "", junk + "x"},
		{"no authority", junk, "", "", junk},
		{"certificate alone", ca, cert, "", "needs both"},
		{"key alone", ca, "", key, "needs both"},
		{"no pair", ca, cert, junk, "client certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := etcd.TLSFiles(c.ca, c.cert, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("TLSFiles: %v, want an error with %q", err, c.want)
			}
		})
	}
	if config, err := etcd.TLSFiles("", "", ""); config != nil || err != nil {
		t.Fatalf("nothing given: %v, %v; want nothing", config, err)
	}
	config, err := etcd.TLSFiles(ca, cert, key)
	if err != nil || config.RootCAs == nil {
		t.Fatalf("TLSFiles: %+v, %v", config, err)
	}
	if _, err := config.GetClientCertificate(&tls.CertificateRequestInfo{}); err != nil {
		t.Fatal(err)
	}
}
