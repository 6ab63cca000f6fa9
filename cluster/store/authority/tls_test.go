package authority_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"

	"gvlan/cluster/store/authority"
)

// meet lets a client and a server shake hands and say a word to each other,
// and returns what the server saw, and what each found wrong.
func meet(t *testing.T, client, server *tls.Config) (seen tls.ConnectionState, clientErr, serverErr error) {
	t.Helper()
	one, two := net.Pipe()
	defer func() { _ = one.Close() }()
	defer func() { _ = two.Close() }()
	deadline := time.Now().Add(20 * time.Second)
	must(t, one.SetDeadline(deadline))
	must(t, two.SetDeadline(deadline))
	var wg sync.WaitGroup
	wg.Go(func() {
		s := tls.Server(two, server)
		if serverErr = s.Handshake(); serverErr == nil {
			_, serverErr = s.Write([]byte{1})
		}
		seen = s.ConnectionState()
	})
	c := tls.Client(one, client)
	if clientErr = c.Handshake(); clientErr == nil {
		// A server's no arrives after a client's handshake.
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	if clientErr != nil {
		_ = one.Close() // the server may wait for the rest
	}
	wg.Wait()
	return seen, clientErr, serverErr
}

func meets(t *testing.T, client, server *tls.Config) tls.ConnectionState {
	t.Helper()
	seen, clientErr, serverErr := meet(t, client, server)
	if clientErr != nil || serverErr != nil {
		t.Fatalf("client: %v; server: %v", clientErr, serverErr)
	}
	return seen
}

func TestHandshake(t *testing.T) {
	c := newCluster(t)
	member, node := c.member("one"), c.node("two")
	seen := meets(t, node.Client(), member.Server())
	if seen.Version != tls.VersionTLS13 || len(seen.PeerCertificates) != 1 || !seen.PeerCertificates[0].Equal(node.Certificate()) {
		t.Fatalf("the server saw %v", seen.PeerCertificates)
	}
	meets(t, member.Client(), member.Server()) // its own agent
}

func TestOlderTLSIsRefused(t *testing.T) {
	c := newCluster(t)
	member, node := c.member("one"), c.node("two")
	client := node.Client()
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err, _ := meet(t, client, member.Server()); err == nil {
		t.Error("the server speaks TLS 1.2")
	}
	server := member.Server()
	server.MinVersion, server.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err, _ := meet(t, node.Client(), server); err == nil {
		t.Error("the client speaks TLS 1.2")
	}
}

func TestWhoHasNoCertificateYet(t *testing.T) {
	c := newCluster(t)
	member := c.member("one")
	joiner := c.open("two")
	must(t, joiner.SetRoots(member.Roots()))
	if seen := meets(t, joiner.Client(), member.Server()); len(seen.PeerCertificates) != 0 {
		t.Fatalf("the server saw %v", seen.PeerCertificates)
	}
	if _, err, _ := meet(t, c.open("three").Client(), member.Server()); !errors.Is(err, authority.ErrNoRoots) {
		t.Fatalf("a host that knows no authority trusts one: %v", err)
	}
}

// Who has a token only knows the authority by its fingerprint.
func TestHandshakeWithAToken(t *testing.T) {
	c := newCluster(t)
	member := c.member("one")
	for name, test := range map[string]struct {
		token authority.Token
		want  error
	}{
		"ours":    {tokenOf(c.authority), nil},
		"another": {tokenOf(newAuthority(t)), authority.ErrOtherAuthority},
	} {
		var root *x509.Certificate
		_, clientErr, _ := meet(t, &tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: authority.ServerName, InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) (err error) {
				root, err = test.token.Verify(state.PeerCertificates, start)
				return err
			},
		}, member.Server())
		if !errors.Is(clientErr, test.want) || (test.want == nil) != (root != nil) {
			t.Errorf("%s: %v", name, clientErr)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ours, theirs := newCluster(t), newCluster(t)
	member, node := ours.member("one"), ours.node("two")
	otherMember, otherNode := theirs.member("one"), theirs.node("two")

	var unknown x509.UnknownAuthorityError
	// A node of another cluster that trusts ours, and so comes as far as that.
	must(t, otherNode.SetRoots(authority.CertificatePEM(theirs.authority.Root(), ours.authority.Root())))
	if _, clientErr, serverErr := meet(t, otherNode.Client(), member.Server()); !errors.As(serverErr, &unknown) || clientErr == nil {
		t.Errorf("another cluster's node: client %v, server %v", clientErr, serverErr)
	}
	if _, clientErr, _ := meet(t, node.Client(), otherMember.Server()); !errors.As(clientErr, &unknown) {
		t.Errorf("another cluster's member: %v", clientErr)
	}
	if _, _, serverErr := meet(t, node.Client(), node.Server()); !errors.Is(serverErr, authority.ErrNoCertificate) {
		t.Errorf("a host that is no member serves: %v", serverErr)
	}
	// A node that serves with what it has is no member.
	served := node.Client()
	pretender := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return served.GetClientCertificate(nil)
	}}
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	if _, clientErr, _ := meet(t, ours.node("three").Client(), pretender); !errors.As(clientErr, &name) && !errors.As(clientErr, &invalid) {
		t.Errorf("a node passes for a member: %v", clientErr)
	}
	var verification *tls.CertificateVerificationError
	if _, clientErr, _ := meet(t, node.Client(), otherMember.Server()); !errors.As(clientErr, &verification) {
		t.Errorf("not an error of a handshake: %T", clientErr)
	}
}

func TestRevokedCertificatesAreRefused(t *testing.T) {
	c := newCluster(t)
	member, node, other := c.member("one"), c.node("two"), c.node("three")
	client, server := node.Client(), member.Server() // made before
	meets(t, client, server)

	member.SetRefused([]string{authority.Serial(node.Certificate())})
	if _, clientErr, serverErr := meet(t, client, server); !errors.Is(serverErr, authority.ErrRefused) || clientErr == nil {
		t.Errorf("a node's: client %v, server %v", clientErr, serverErr)
	}
	meets(t, other.Client(), server)
	member.SetRefused(nil)
	meets(t, client, server)

	list, err := c.authority.RevocationList([]string{authority.Serial(node.Certificate())}, start)
	must(t, err)
	must(t, member.SetRevocationList(list))
	if _, _, serverErr := meet(t, client, server); !errors.Is(serverErr, authority.ErrRefused) {
		t.Errorf("by the list: %v", serverErr)
	}
	empty, err := c.authority.RevocationList(nil, start)
	must(t, err)
	must(t, member.SetRevocationList(empty))

	node.SetRefused([]string{authority.Serial(member.MemberCertificate())})
	if _, clientErr, _ := meet(t, client, server); !errors.Is(clientErr, authority.ErrRefused) {
		t.Errorf("a member's: %v", clientErr)
	}
}

func TestCertificatesEnd(t *testing.T) {
	c := newCluster(t)
	member, node := c.member("one"), c.node("two")
	client, server := node.Client(), member.Server()
	c.clock.now = start.Add(year / 2)
	meets(t, client, server)
	// The member's is renewed, the node's is not.
	must(t, member.AcceptMember(c.sign(member, authority.Subject{Node: "one", Member: true}).Raw))
	c.clock.now = start.Add(ended)
	var invalid x509.CertificateInvalidError
	if _, _, serverErr := meet(t, client, server); !errors.As(serverErr, &invalid) || invalid.Reason != x509.Expired {
		t.Fatalf("a node's that has ended: %v", serverErr)
	}
	must(t, node.Accept(c.sign(node, authority.Subject{Node: "two"}).Raw, nil))
	seen := meets(t, client, server) // the same configurations
	if !seen.PeerCertificates[0].Equal(node.Certificate()) {
		t.Fatal("the certificate before is shown")
	}
	c.clock.now = start.Add(year/2 + ended)
	if _, clientErr, _ := meet(t, client, server); !errors.As(clientErr, &invalid) || invalid.Reason != x509.Expired {
		t.Fatalf("a member's that has ended: %v", clientErr)
	}
}

// An authority is replaced while both sides keep their configurations.
func TestAuthorityIsReplaced(t *testing.T) {
	c := newCluster(t)
	member, node := c.member("one"), c.node("two")
	client, server := node.Client(), member.Server()
	old, next := c.authority, newAuthority(t)
	both := authority.CertificatePEM(old.Root(), next.Root())
	hosts := []*authority.Identity{member, node}
	for _, host := range hosts {
		must(t, host.SetRoots(both))
		meets(t, client, server)
	}
	c.authority = next
	must(t, member.AcceptMember(c.sign(member, authority.Subject{Node: "one", Member: true}).Raw))
	meets(t, client, server)
	// The token of the next authority is good from then on.
	var presented []*x509.Certificate
	judge := client.Clone()
	judge.VerifyConnection = func(state tls.ConnectionState) error { presented = state.PeerCertificates; return nil }
	meets(t, judge, server)
	if _, err := tokenOf(next).Verify(presented, start); err != nil {
		t.Fatal(err)
	}
	must(t, node.Accept(c.sign(node, authority.Subject{Node: "two"}).Raw, nil))
	for _, host := range hosts {
		must(t, host.SetRoots(authority.CertificatePEM(next.Root())))
		meets(t, client, server)
	}
	// What is of the old one only is out.
	c.authority = old
	late := c.node("three")
	must(t, late.SetRoots(both))
	if _, clientErr, serverErr := meet(t, late.Client(), server); serverErr == nil || clientErr == nil {
		t.Fatal("the authority before still counts")
	}
}

func TestHandshakesWhileAllChanges(t *testing.T) {
	c := newCluster(t)
	member, node := c.member("one"), c.node("two")
	client, server := node.Client(), member.Server()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for n := range 20 {
			if err := node.Accept(c.sign(node, authority.Subject{Node: "two"}).Raw, node.Roots()); err != nil {
				t.Error(err)
			}
			if err := member.AcceptMember(c.sign(member, authority.Subject{Node: "one", Member: true}).Raw); err != nil {
				t.Error(err)
			}
			member.SetRefused(make([]string, n))
			next, err := authority.New(start)
			if err == nil {
				err = node.SetRoots(authority.CertificatePEM(c.authority.Root(), next.Root()))
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	for done := false; !done; {
		select {
		case <-stop:
			done = true
		default:
			meets(t, client, server)
		}
	}
	wg.Wait()
}

// What etcd's own listeners and dialers make of the files.
func TestFilesServeEtcd(t *testing.T) {
	c := newCluster(t)
	// etcd goes by the clock of the machine.
	c.clock.now = time.Now()
	var err error
	c.authority, err = authority.New(c.clock.now)
	must(t, err)
	one, two, node := c.member("one"), c.member("two"), c.node("three")
	clients := listen(t, tlsInfo(one))
	info := tlsInfo(one)
	info.AllowedHostnames, info.SkipClientSANVerify = []string{authority.ServerName}, true
	peers := listen(t, info)
	asPeer, err := tlsInfo(two).ClientConfig()
	must(t, err)

	for name, test := range map[string]struct {
		address string
		config  *tls.Config
		ok      bool
	}{
		"a node at the clients' port":     {clients, node.Client(), true},
		"a node at the peers' port":       {peers, node.Client(), false},
		"a member at the peers' port":     {peers, asPeer, true},
		"nobody at the clients' port":     {clients, c.open("four").Client(), false},
		"another cluster's":               {clients, trusting(t, newClusterNow(t).node("three"), one).Client(), false},
		"another cluster's at the peers'": {peers, trusting(t, newClusterNow(t).member("two"), one).Client(), false},
	} {
		if err := say(test.address, test.config); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := c.authority.RevocationList([]string{authority.Serial(node.Certificate()), authority.Serial(two.MemberCertificate())}, time.Now())
	must(t, err)
	must(t, one.SetRevocationList(list))
	for name, test := range map[string]struct {
		address string
		config  *tls.Config
	}{"node": {clients, node.Client()}, "member": {peers, asPeer}} {
		if err := say(test.address, test.config); err == nil {
			t.Errorf("etcd takes the certificate of a %s that was revoked", name)
		}
	}
	c.join(node, "three") // with another certificate
	must(t, say(clients, node.Client()))
}

func newClusterNow(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.clock.now = time.Now()
	var err error
	c.authority, err = authority.New(c.clock.now)
	must(t, err)
	return c
}

// trusting makes a host trust another cluster's members.
func trusting(t *testing.T, host, member *authority.Identity) *authority.Identity {
	t.Helper()
	must(t, host.SetRoots(member.Roots()))
	return host
}

func tlsInfo(i *authority.Identity) transport.TLSInfo {
	files := i.Files()
	return transport.TLSInfo{
		CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: files.CA, CRLFile: files.CRL,
		ClientCertAuth: true, ServerName: authority.ServerName, MinVersion: tls.VersionTLS13,
	}
}

// listen serves as etcd does: it says one byte to everybody it takes.
func listen(t *testing.T, info transport.TLSInfo) string {
	t.Helper()
	listener, err := transport.NewListener("127.0.0.1:0", "https", &info)
	must(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte{1})
			_ = conn.Close()
		}
	})
	return listener.Addr().String()
}

func say(address string, config *tls.Config) error {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}
