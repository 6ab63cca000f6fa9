package authority_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gvlan/cluster/store/authority"
)

func TestIdentityOfNoCluster(t *testing.T) {
	c := newCluster(t)
	dir := filepath.Join(t.TempDir(), "data", "identity")
	i := c.openAt(dir, "host")
	if i.Certificate() != nil || i.MemberCertificate() != nil || i.Roots() != nil || len(i.RootCertificates()) > 0 {
		t.Fatal("it has what nobody gave it")
	}
	if _, kept, err := i.Custody(); kept || err != nil {
		t.Fatalf("custody: %v, %v", kept, err)
	}
	if got := modes(t, dir); len(got) != 1 || got["."] != fs.ModeDir|0o700 {
		t.Fatalf("folder: %v", got)
	}
}

func TestIdentityIsKept(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	i := c.openAt(dir, "host")
	c.join(i, "host")
	c.serve(i, "host")
	list, err := c.authority.RevocationList([]string{"0a"}, start)
	must(t, err)
	must(t, i.SetRevocationList(list))
	again := c.openAt(dir, "host")
	if !again.Certificate().Equal(i.Certificate()) || !again.MemberCertificate().Equal(i.MemberCertificate()) ||
		!bytes.Equal(again.Roots(), i.Roots()) || !again.Refused("A") {
		t.Fatal("another identity is read than was written")
	}
	want := []string{".", "authority.pem", "member.crt", "member.key", "node.crt", "node.key", "refused.crl", "roots.pem", "secret"}
	got := modes(t, dir)
	for _, name := range want {
		mode := fs.FileMode(0o600)
		if name == "." {
			mode = fs.ModeDir | 0o700
		}
		if got[name] != mode {
			t.Errorf("%s has mode %v, want %v", name, got[name], mode)
		}
	}
	if len(got) != len(want) {
		t.Errorf("files %v, want %v", got, want)
	}
	files := i.Files()
	if _, err := tls.LoadX509KeyPair(files.Cert, files.Key); err != nil {
		t.Errorf("etcd does not read the member's pair: %v", err)
	}
	// A member and a node are two: a key that serves is not in two places.
	if slices.Equal(i.Certificate().RawSubjectPublicKeyInfo, i.MemberCertificate().RawSubjectPublicKeyInfo) {
		t.Error("the member's key is the node's")
	}
}

// modes are the modes of a folder and all in it.
func modes(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	all := map[string]fs.FileMode{}
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		name, _ := filepath.Rel(dir, path)
		all[name] = info.Mode()
		return err
	}))
	return all
}

func TestFilesAreTakenFromOthers(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	c.join(c.openAt(dir, "host"), "host")
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Join(dir, "node.key"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, ".new-123"), []byte("half a key"), 0o600))
	c.openAt(dir, "host")
	got := modes(t, dir)
	if got["."] != fs.ModeDir|0o700 || got["node.key"] != 0o600 {
		t.Errorf("others may read: %v", got)
	}
	if _, there := got[".new-123"]; there {
		t.Error("what a death left unfinished is still there")
	}
}

func TestRenewalKeepsTheKey(t *testing.T) {
	c := newCluster(t)
	i := c.member("host")
	node, member := i.Certificate(), i.MemberCertificate()
	c.clock.now = start.Add(20 * day)
	must(t, i.Accept(c.sign(i, authority.Subject{Node: "host"}).Raw, nil))
	must(t, i.AcceptMember(c.sign(i, authority.Subject{Node: "host", Member: true}).Raw))
	for what, pair := range map[string][2]*x509.Certificate{"node": {node, i.Certificate()}, "member": {member, i.MemberCertificate()}} {
		if pair[0].Equal(pair[1]) || !slices.Equal(pair[0].RawSubjectPublicKeyInfo, pair[1].RawSubjectPublicKeyInfo) {
			t.Errorf("%s: not the same key with another certificate", what)
		}
	}
}

// etcd reads the certificate and then the key, at every handshake.
func TestReadersFindAPairAtAnyTime(t *testing.T) {
	c := newCluster(t)
	i := c.member("host")
	files := i.Files()
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			_, err := tls.LoadX509KeyPair(files.Cert, files.Key)
			if raw, e := os.ReadFile(files.CRL); err == nil {
				err = e
				if err == nil {
					_, err = x509.ParseRevocationList(raw)
				}
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for n := range 50 {
		must(t, i.AcceptMember(c.sign(i, authority.Subject{Node: "host", Member: true}).Raw))
		list, err := c.authority.RevocationList(slices.Repeat([]string{"a1"}, n+1), start)
		must(t, err)
		must(t, i.SetRevocationList(list))
	}
	close(stop)
	must(t, <-done)
}

func TestWhatIsNotAccepted(t *testing.T) {
	c := newCluster(t)
	i := c.member("host")
	roots := authority.CertificatePEM(c.authority.Root())
	other := newCluster(t)
	otherHost := c.open("other")
	sameName := c.open("host")
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	before, memberBefore := i.Certificate(), i.MemberCertificate()
	for what, test := range map[string]struct {
		cert, roots []byte
		want        func(error) bool
	}{
		"another node's":    {c.sign(otherHost, authority.Subject{Node: "other"}).Raw, roots, is(authority.ErrOtherNode)},
		"another key's":     {c.sign(sameName, authority.Subject{Node: "host"}).Raw, roots, is(authority.ErrOtherKey)},
		"another authority": {other.sign(i, authority.Subject{Node: "host"}).Raw, roots, func(err error) bool { return errors.As(err, &unknown) }},
		"other roots":       {c.sign(i, authority.Subject{Node: "host"}).Raw, authority.CertificatePEM(other.authority.Root()), func(err error) bool { return errors.As(err, &unknown) }},
		"no roots":          {c.sign(i, authority.Subject{Node: "host"}).Raw, []byte("none"), func(err error) bool { return err != nil }},
		"nothing":           {nil, roots, func(err error) bool { return err != nil }},
	} {
		if err := i.Accept(test.cert, test.roots); !test.want(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, test := range map[string]struct {
		cert []byte
		want func(error) bool
	}{
		"another node's":    {c.sign(otherHost, authority.Subject{Node: "other", Member: true}).Raw, is(authority.ErrOtherNode)},
		"a node's":          {c.sign(i, authority.Subject{Node: "host"}).Raw, is(authority.ErrOtherKey)},
		"another authority": {other.sign(i, authority.Subject{Node: "host", Member: true}).Raw, func(err error) bool { return errors.As(err, &unknown) }},
		"for no server": {sign(t, c.authority, i, authority.Subject{Node: "host"}, true).Raw,
			func(err error) bool { return errors.As(err, &name) || errors.As(err, &invalid) }},
	} {
		if err := i.AcceptMember(test.cert); !test.want(err) {
			t.Errorf("member, %s: %v", what, err)
		}
	}
	late := c.sign(i, authority.Subject{Node: "host"})
	c.clock.now = start.Add(ended)
	if err := i.Accept(late.Raw, roots); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("one that has ended: %v", err)
	}
	if !i.Certificate().Equal(before) || !i.MemberCertificate().Equal(memberBefore) || !bytes.Equal(i.Roots(), roots) {
		t.Error("something was changed by what was not accepted")
	}
	if err := c.open("fresh").Accept(before.Raw, roots); !errors.Is(err, authority.ErrOtherNode) {
		t.Errorf("a host without a key: %v", err)
	}
	if err := c.open("host").Accept(before.Raw, roots); !errors.Is(err, authority.ErrOtherKey) {
		t.Errorf("a host without a key: %v", err)
	}
	solo := c.open("host")
	if err := solo.Accept(c.sign(solo, authority.Subject{Node: "host"}).Raw, nil); !errors.Is(err, authority.ErrNoRoots) {
		t.Errorf("a host without roots: %v", err)
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func TestFolderOfAnotherNode(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	c.join(c.openAt(dir, "host"), "host")
	if _, err := authority.OpenIdentity(dir, "clone", c.clock.Now); !errors.Is(err, authority.ErrOtherNode) {
		t.Fatalf("%v", err)
	}
}

func TestDamagedFoldersAreNamed(t *testing.T) {
	for _, name := range []string{"node.key", "node.crt", "member.key", "member.crt", "roots.pem", "refused.crl"} {
		c := newCluster(t)
		dir := t.TempDir()
		i := c.openAt(dir, "host")
		c.join(i, "host")
		c.serve(i, "host")
		path := filepath.Join(dir, name)
		secret, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, secret[:len(secret)/2], 0o600))
		_, err = authority.OpenIdentity(dir, "host", c.clock.Now)
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(path)) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && bytes.HasSuffix([]byte(name), []byte(".key")) && repeats(err.Error(), string(bytes.Split(secret, []byte("\n"))[1])) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
	c := newCluster(t)
	dir := t.TempDir()
	c.join(c.openAt(dir, "host"), "host")
	must(t, os.Remove(filepath.Join(dir, "node.key")))
	if _, err := authority.OpenIdentity(dir, "host", c.clock.Now); !errors.Is(err, authority.ErrOtherKey) {
		t.Errorf("a certificate without a key: %v", err)
	}
}

// A death between a key and its certificate leaves a key that is used again.
func TestKeyWithoutCertificate(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	csr, err := c.openAt(dir, "host").Request(false)
	must(t, err)
	cert, err := c.authority.Sign(csr, authority.Subject{Node: "host"}, start)
	must(t, err)
	i := c.openAt(dir, "host")
	must(t, i.Accept(cert.Raw, authority.CertificatePEM(c.authority.Root())))
	c.openAt(dir, "host")
}

func TestForget(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	i := c.openAt(dir, "host")
	c.join(i, "host")
	c.serve(i, "host")
	key := i.Certificate().RawSubjectPublicKeyInfo
	i.SetRefused([]string{"0a"})
	must(t, i.Forget())
	if got := modes(t, dir); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
	if i.Certificate() != nil || i.MemberCertificate() != nil || i.Roots() != nil || i.Refused("a") {
		t.Error("it is still somebody")
	}
	must(t, i.Forget()) // again
	c.join(i, "host")
	if slices.Equal(i.Certificate().RawSubjectPublicKeyInfo, key) {
		t.Error("the next cluster is shown the key of the last")
	}
}

func TestDropMember(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	i := c.openAt(dir, "host")
	c.join(i, "host")
	c.serve(i, "host")
	must(t, i.DropMember())
	must(t, i.DropCustody())
	got := modes(t, dir)
	if len(got) != 4 || i.MemberCertificate() != nil { // the folder, a pair, roots
		t.Errorf("left: %v", got)
	}
	if i.Certificate() == nil || c.openAt(dir, "host").Certificate() == nil {
		t.Error("the node's certificate is gone too")
	}
	c.serve(i, "host") // it may become one again
	c.openAt(dir, "host")
}

func TestWhatCannotBeKeptIsNotTaken(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	i := c.openAt(dir, "host")
	c.join(i, "host")
	before := i.Certificate()
	path := filepath.Join(dir, "node.crt")
	must(t, os.Remove(path))
	must(t, os.MkdirAll(filepath.Join(path, "in the way"), 0o700))
	if err := i.Accept(c.sign(i, authority.Subject{Node: "host"}).Raw, nil); err == nil {
		t.Fatal("a certificate that is not on the disk is taken")
	}
	if !i.Certificate().Equal(before) {
		t.Error("it goes by a certificate that is not on the disk")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
