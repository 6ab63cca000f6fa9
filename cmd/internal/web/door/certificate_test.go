package door

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shows is the certificate that the door shows, in a handshake.
func (o *opened) shows() *x509.Certificate {
	o.t.Helper()
	conn, err := tls.Dial("tcp", o.at, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// made makes a certificate in a folder, as the agent does.
func made(t *testing.T, path string, now time.Time, names ...string) *Certificate {
	t.Helper()
	c := &Certificate{Cert: path, Key: path, Names: names, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}
	if _, err := c.get(); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestOwnCertificate is made once, for the root's eyes, and has the fingerprint that
// browsers show.
func TestOwnCertificate(t *testing.T) {
	o := lan(t)
	leaf := o.shows()
	about, err := os.Stat(o.Certificate.Cert)
	if err != nil || about.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", about.Mode(), err)
	}
	for _, name := range []string{"h1", "127.0.0.1"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	want := strings.ToUpper(strings.TrimSuffix(strings.Join(hexPairs(sha256.Sum256(leaf.Raw)), ":"), ":"))
	if got, err := o.Certificate.Fingerprint(); err != nil || got != want {
		t.Errorf("fingerprint %s, %v, want %s", got, err, want)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	answer, err := client.Get(o.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	client.CloseIdleConnections()
	if answer.ProtoMajor != 2 {
		t.Errorf("it is %s", answer.Proto)
	}
	if _, err := tls.Dial("tcp", o.at, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	path, now := o.Certificate.Cert, time.Now()
	before, _ := o.Certificate.Fingerprint()
	for _, test := range []struct {
		why   string
		at    time.Time
		names []string
		same  bool
	}{
		{"a restart", now, []string{"h1", "127.0.0.1"}, true},
		{"another address", now, []string{"h1", "127.0.0.2"}, false},
		{"another name", now, []string{"h2", "127.0.0.2"}, false},
		{"long before its end", now.Add(madeFor - left - 2*time.Hour), []string{"h2", "127.0.0.2"}, true},
		{"near its end", now.Add(madeFor - left), []string{"h2", "127.0.0.2"}, false},
	} {
		after, err := made(t, path, test.at, test.names...).Fingerprint()
		if err != nil || (after == before) != test.same {
			t.Errorf("after %s it is the same: %t, want %t (%v)", test.why, after == before, test.same, err)
		}
		before = after
	}
	if drafts, _ := filepath.Glob(path + ".*"); len(drafts) > 0 {
		t.Errorf("there are %q", drafts)
	}
}

func hexPairs(sum [sha256.Size]byte) (all []string) {
	const digits = "0123456789ABCDEF"
	for _, b := range sum {
		all = append(all, string(digits[b>>4])+string(digits[b&15]))
	}
	return all
}

// TestRenewal: files that are replaced are shown at the next connection; while they
// do not fit, those from before are.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.pem"), filepath.Join(dir, "two.pem")
	made(t, one, time.Now(), "one")
	made(t, two, time.Now(), "two")
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	link := func(to, path string) {
		t.Helper()
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.Symlink(to, path); err != nil { // as certbot does
			t.Fatal(err)
		}
	}
	link(one, cert)
	link(one, key)
	o := open(t, Config{Listen: "0.0.0.0:8470", Password: password, Certificate: &Certificate{Cert: cert, Key: key}})
	shown := func(why, want string) {
		t.Helper()
		if got := o.shows().DNSNames[0]; got != want {
			t.Errorf("%s: %s is shown, want %s", why, got, want)
		}
	}
	shown("at first", "one")
	link(two, cert)
	shown("half of it is new", "one")
	shown("and is still", "one")
	if n := strings.Count(o.log.text(), "the certificate of the page cannot be read"); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, o.log.text())
	}
	link(two, key)
	shown("all is new", "two")
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	shown("it is gone", "two")
}

// TestNoCertificate: without one the door is not open, and says why.
func TestNoCertificate(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	o := open(t, Config{Listen: "0.0.0.0:8470", Password: password, Certificate: &Certificate{Cert: none, Key: none}})
	if err := o.Missing(); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("missing is %v", err)
	}
	if conn, err := tls.Dial("tcp", o.at, &tls.Config{InsecureSkipVerify: true}); err == nil {
		conn.Close()
		t.Error("there is a certificate")
	}
	made(t, none, time.Now(), "late")
	if got := o.shows().DNSNames[0]; got != "late" || o.Missing() != nil {
		t.Errorf("%s is shown, missing is %v", got, o.Missing())
	}
}
