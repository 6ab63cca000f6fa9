package embedded

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
)

// The files are renewed with the key they had.
func TestCertifyKeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Config{Dir: dir, Listen: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	read := func() (cert, key string) {
		if _, err := s.certify(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile)); err != nil {
			t.Fatal(err)
		}
		rawCert, _ := os.ReadFile(filepath.Join(dir, certFile))
		rawKey, _ := os.ReadFile(filepath.Join(dir, keyFile))
		return string(rawCert), string(rawKey)
	}
	cert1, key1 := read()
	cert2, key2 := read()
	if cert1 == cert2 || key1 != key2 {
		t.Fatalf("certificate changed: %v, key kept: %v; want both", cert1 != cert2, key1 == key2)
	}
}
