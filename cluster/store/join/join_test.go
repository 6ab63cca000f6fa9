package join_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/session"
	"gvlan/cluster/store/storetest"
)

func TestJoin(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	h := c.host("second")
	answer, err := h.asker.Join(t.Context(), first.door, first.token(), h.who())
	h.must(err)
	h.must(h.id.Accept(answer.Certificate, answer.Roots))
	if answer.Cluster != "the-cluster" || len(answer.Members) != 1 || answer.Members[0] != (join.Place{Node: "first", Client: "192.0.2.7:2379", Door: first.door}) {
		t.Errorf("cluster %q with members %v", answer.Cluster, answer.Members)
	}
	want := store.Certificate{Node: "second", Serial: authority.Serial(h.id.Certificate()), Sum: authority.Fingerprint(h.id.Certificate()), Root: first.token().Fingerprint, Ends: h.id.Certificate().NotAfter.Unix()}
	if got := h.record(); got != want {
		t.Errorf("recorded %+v, want %+v", got, want)
	}
	places, err := h.asker.Members(t.Context(), first.door)
	if err != nil || len(places) != 1 {
		t.Errorf("members %v (%v), want one", places, err)
	}
}

func TestThreeJoinAtOnce(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	token := first.token()
	var wait sync.WaitGroup
	for _, node := range []string{"a", "b", "c"} {
		h := c.host(node)
		wait.Go(func() {
			answer, err := h.asker.Join(t.Context(), first.door, token, h.who())
			if err == nil {
				err = h.id.Accept(answer.Certificate, answer.Roots)
			}
			if err != nil {
				t.Errorf("%s: %v", h.node, err)
			}
		})
	}
	wait.Wait()
}

func TestJoinIsRefused(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	other := newCluster(t).founder("first")
	old := first.token()
	token, err := first.custodian.RotateSecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if token == old || first.token() != token {
		t.Error("the token is still the old one")
	}
	c.put(
		store.Put(store.LiveKey("living"), store.Encode(store.Live{Install: "install-of-it", Host: "pi.example", Address: "192.0.2.9"})),
		store.Put(store.MemberKey("absent"), store.Encode(store.Member{Node: "absent"})),
		store.Put(store.EpochKey("absent"), store.Encode(store.Epoch{Install: "install-of-it"})),
	)
	nobody := net.JoinHostPort("127.0.0.1", "1")
	tests := []struct {
		name  string
		door  string
		token authority.Token
		node  string
		want  error
	}{
		{"wrong fingerprint", first.door, authority.Token{Fingerprint: other.token().Fingerprint, Secret: token.Secret}, "new", join.ErrWrongToken},
		{"door of another cluster", other.door, token, "new", join.ErrWrongToken},
		{"wrong secret", first.door, authority.Token{Fingerprint: token.Fingerprint, Secret: authority.NewSecret()}, "new", join.ErrWrongToken},
		{"no secret", first.door, authority.Token{Fingerprint: token.Fingerprint}, "new", join.ErrWrongToken},
		{"rotated secret", first.door, old, "new", join.ErrWrongToken},
		{"name of a live host", first.door, token, "living", join.ErrNameTaken},
		{"name of an absent member", first.door, token, "absent", join.ErrNameTaken},
		{"a name nobody can print", first.door, token, "a\nb", join.ErrBadRequest},
		{"nobody there", nobody, token, "new", join.ErrUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := c.host(tt.node)
			_, err := h.asker.Join(t.Context(), tt.door, tt.token, h.who())
			wantErr(t, err, tt.want)
			if err != nil && (strings.Contains(err.Error(), token.Secret) || !strings.Contains(err.Error(), tt.door)) {
				t.Errorf("%q has the secret, or not the address", err)
			}
			if items, _, _ := c.mem.List(t.Context(), store.NodeCertificatesSpan(tt.node)); len(items) > 0 {
				t.Errorf("recorded %s", items[0].Value)
			}
		})
	}

	// Names are told of their holder; its own install may have them again.
	h := c.host("living")
	_, err = h.asker.Join(t.Context(), first.door, token, h.who())
	if taken, ok := errors.AsType[*join.NameTakenError](err); !ok || taken.Host != "pi.example" || taken.Address != "192.0.2.9" {
		t.Errorf("%v does not name the holder", err)
	}
	for _, node := range []string{"living", "absent"} {
		h := c.host(node)
		if _, err := h.asker.Join(t.Context(), first.door, token, join.Applicant{Node: node, Install: "install-of-it"}); err != nil {
			t.Errorf("%s with its own install: %v", node, err)
		}
	}
}

// routes are all of a door but joining.
var routes = map[string]string{"/v1/renew": "POST", "/v1/custody": "POST", "/v1/member": "POST", "/v1/members": "GET"}

// knock asks a route with a certificate (nil: none) and returns the status and
// what was answered.
func knock(t *testing.T, door, method, route string, cert *tls.Certificate) (int, string) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+door+route, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// shown is a certificate of a host with its key, whatever it is worth.
func (h *host) shown(cert, key string) *tls.Certificate {
	h.c.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(h.dir, cert), filepath.Join(h.dir, key))
	h.must(err)
	return &pair
}

func (h *host) nodeCertificate() *tls.Certificate { return h.shown("node.crt", "node.key") }

func TestCertificatesThatDoNotStand(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	custody, _, err := first.id.Custody()
	if err != nil {
		t.Fatal(err)
	}

	revoked := c.host("revoked")
	revoked.join(first)
	revoked.member()
	if member, err := join.Revoke(t.Context(), c.mem, "revoked"); err != nil || member {
		t.Fatalf("revoke: member %v, %v", member, err)
	}
	evicted := c.host("evicted")
	evicted.join(first)
	evicted.member()
	c.put(store.Put(store.EpochKey("evicted"), store.Encode(store.Epoch{Evicted: true})))
	foreign := newCluster(t).founder("first")
	forged := c.host("first") // signed with the stolen authority, for a member, and never recorded
	csr, err := forged.id.Request(false)
	forged.must(err)
	cert, err := custody.Authorities[0].Sign(csr, authority.Subject{Node: "first"}, c.clock.Now())
	forged.must(err)
	forged.must(forged.id.Accept(cert.Raw, first.id.Roots()))
	// And one of the number of a certificate that was given, which the copy of the
	// store that it has too says.
	twin := c.host("first")
	_, err = twin.id.Request(false)
	twin.must(err)
	twin.must(twin.id.Accept(twin.forge(custody.Authorities[0], first.id.Certificate().SerialNumber).Raw, first.id.Roots()))
	expired := c.host("expired")
	expired.join(first)
	expired.member()
	shown := map[string]*tls.Certificate{
		"none":                      nil,
		"revoked":                   revoked.nodeCertificate(),
		"of an evicted node":        evicted.nodeCertificate(),
		"of another cluster":        foreign.nodeCertificate(),
		"forged":                    forged.nodeCertificate(),
		"forged with its number":    twin.nodeCertificate(),
		"of a member, not its node": first.shown("member.crt", "member.key"),
	}
	refused := func(name string, cert *tls.Certificate) {
		t.Helper()
		for route, method := range routes {
			status, said := knock(t, first.door, method, route, cert)
			if status != http.StatusUnauthorized && status != http.StatusForbidden {
				t.Errorf("certificate %s: %s answers %d: %s", name, route, status, said)
			}
		}
	}
	for name, cert := range shown {
		refused(name, cert)
	}
	if status, said := knock(t, first.door, "GET", "/v1/members", expired.nodeCertificate()); status != http.StatusOK {
		t.Errorf("a good certificate: %d: %s", status, said)
	}
	for name, step := range map[string]struct {
		h    *host
		want error
	}{
		"revoked": {revoked, join.ErrRevoked},
		"evicted": {evicted, join.ErrRevoked},
		"forged":  {forged, join.ErrCertificate},
		"twin":    {twin, join.ErrCertificate},
		"foreign": {foreign, join.ErrNotTrusted},
		"none":    {c.host("fresh"), join.ErrCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			wantErr(t, step.h.asker.Renew(t.Context(), first.door), step.want)
			_, err := step.h.asker.Custody(t.Context(), first.door)
			wantErr(t, err, step.want)
		})
	}

	c.clock.advance(366 * 24 * time.Hour)
	wantErr(t, expired.asker.Renew(t.Context(), first.door), join.ErrNotTrusted) // the door's has expired too
	first.must(first.custodian.Own(t.Context(), authority.Subject{Node: "first"}))
	refused("expired", expired.nodeCertificate())
	wantErr(t, expired.asker.Renew(t.Context(), first.door), join.ErrCertificate)
}

func TestCustodyIsForMembers(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	h := c.host("second")
	h.join(first)
	if _, err := h.asker.Custody(t.Context(), first.door); !errors.Is(err, join.ErrNotMember) {
		t.Errorf("custody of a plain node: %v", err)
	}
	wantErr(t, h.asker.MemberCertificate(t.Context(), first.door), join.ErrNotMember)
	if _, err := h.custodian.Token(t.Context()); !errors.Is(err, join.ErrNoCustody) {
		t.Errorf("token of a plain node: %v", err)
	}

	h.member()
	custody, err := h.asker.Custody(t.Context(), first.door)
	h.must(err)
	h.must(h.custodian.Take(t.Context(), custody))
	h.must(h.asker.MemberCertificate(t.Context(), first.door))
	serving := h.id.MemberCertificate()
	for _, name := range []string{authority.ServerName, "192.0.2.7", "host.example"} {
		if err := serving.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if h.token() != first.token() {
		t.Error("two members have two tokens")
	}

	// Another member's rotation is noticed and fetched.
	token, err := first.custodian.RotateSecret(t.Context())
	first.must(err)
	if ok, err := h.custodian.InStep(t.Context()); ok || err != nil {
		t.Errorf("in step %v (%v) after another's rotation", ok, err)
	}
	_, err = h.custodian.Token(t.Context())
	wantErr(t, err, join.ErrBehind)
	wantErr(t, h.custodian.Take(t.Context(), custody), join.ErrBehind)
	// Who changes one of the keys has the others: else nobody had all of them to
	// hand over.
	wantErr(t, h.custodian.BeginRoots(t.Context()), join.ErrBehind)
	h.must(h.custodian.Refresh(t.Context(), h.asker, "second"))
	if h.token() != token {
		t.Error("the new secret was not fetched")
	}
	first.must(first.custodian.BeginRoots(t.Context()))
	_, err = h.custodian.RotateSecret(t.Context())
	wantErr(t, err, join.ErrBehind)
	h.must(h.custodian.Refresh(t.Context(), h.asker, "second"))
	_, err = h.custodian.RotateSecret(t.Context())
	h.must(err)
}

func TestRenewal(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	h := c.host("second")
	h.join(first)
	before := h.record()
	due := func() join.Renewal {
		t.Helper()
		r, err := join.Due(t.Context(), c.mem, h.id, c.clock.Now())
		h.must(err)
		return r
	}
	if due() != (join.Renewal{}) {
		t.Error("due at once")
	}
	c.clock.advance(183 * 24 * time.Hour)
	if due() != (join.Renewal{Node: true}) {
		t.Error("not due after half its life")
	}
	h.must(h.asker.Renew(t.Context(), first.door))
	h.must(join.Settle(t.Context(), c.mem, h.id))
	if due() != (join.Renewal{}) || h.record().Serial == before.Serial {
		t.Error("not renewed")
	}
	it, err := c.mem.Get(t.Context(), store.CertificateKey("second", before.Serial))
	h.must(err)
	if old, err := store.Decode[store.Certificate](it); err != nil || !old.Replaced {
		t.Errorf("the record of the old one is %+v (%v), want it replaced", old, err)
	}

	// What a restored store lost comes back with its host.
	c.put(store.Delete(store.CertificateKey("second", h.record().Serial)))
	wantErr(t, h.asker.Renew(t.Context(), first.door), join.ErrCertificate)
	h.must(join.Settle(t.Context(), c.mem, h.id))
	h.must(h.asker.Renew(t.Context(), first.door))

	c.clock.advance(400 * 24 * time.Hour)
	h.must(join.Prune(t.Context(), c.mem, c.clock.Now()))
	if items, _, _ := c.mem.List(t.Context(), store.CertificatesSpan()); len(items) > 0 {
		t.Errorf("%d records left of certificates that ended", len(items))
	}
}

func TestRevoke(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	h := c.host("third")
	h.join(first)
	for range 120 { // more than one transaction takes
		csr := make([]byte, 16)
		_, _ = rand.Read(csr)
		serial := authority.Digest(string(csr))[:30]
		c.put(store.Put(store.CertificateKey("second", serial), store.Encode(store.Certificate{Node: "second", Serial: serial, Ends: c.clock.Now().Unix() + 9})))
	}
	member, err := join.Revoke(t.Context(), c.mem, "second")
	first.must(err)
	if !member {
		t.Error("nobody is told that it had the authority")
	}
	serials, err := join.Refused(t.Context(), c.mem, c.clock.Now())
	first.must(err)
	if len(serials) != 122 { // its node's and its member's
		t.Errorf("%d refused, want 122", len(serials))
	}
	first.must(first.custodian.Refuse(t.Context()))
	if !first.id.Refused(authority.Serial(second.id.Certificate())) || first.id.Refused(authority.Serial(first.id.Certificate())) {
		t.Error("this host refuses others")
	}
	raw, err := os.ReadFile(first.id.Files().CRL)
	first.must(err)
	if list, err := x509.ParseRevocationList(raw); err != nil || len(list.RevokedCertificateEntries) != 122 {
		t.Errorf("the list that etcd reads is not of 122: %v", err)
	}
	h.must(h.custodian.Refuse(t.Context()))
	for _, h := range []*host{first, h} {
		_, err = h.asker.Members(t.Context(), second.door)
		wantErr(t, err, join.ErrNotTrusted)
	}
}

func TestFoundAgain(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	token := first.token()
	h := c.host("second")
	h.join(first)
	older := c.mem.Snapshot()
	rotated, err := first.custodian.RotateSecret(t.Context())
	first.must(err)
	if token == rotated {
		t.Fatal("not rotated")
	}
	c.mem.Restore(older)
	if _, err := first.custodian.Token(t.Context()); !errors.Is(err, join.ErrBehind) {
		t.Errorf("token against an older store: %v", err)
	}
	first.must(first.custodian.Found(t.Context()))
	if first.token() != rotated {
		t.Error("a secret that ended is back")
	}
	c.mem.Wipe()
	first.must(first.custodian.Found(t.Context()))
	if first.token() != rotated {
		t.Error("founding in an empty store makes another authority")
	}
}

func TestWrongSecretsAreSlow(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	wrong := first.token()
	wrong.Secret = authority.NewSecret()
	begun := time.Now()
	var wait sync.WaitGroup
	for range 20 { // three rounds of the eight that are looked at together
		h := c.host("guess")
		wait.Go(func() {
			_, err := h.asker.Join(t.Context(), first.door, wrong, h.who())
			wantErr(t, err, join.ErrWrongToken)
		})
	}
	right := c.host("right")
	right.join(first)
	wait.Wait()
	if took := time.Since(begun); took < 3*time.Second {
		t.Errorf("20 guesses took %v", took)
	}
}

func TestDoorIsBounded(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	h := c.host("second")
	h.join(first)
	// What one address holds open is bounded, and is not kept for long.
	var conns []net.Conn
	for range 40 {
		conns = append(conns, dial(t, first.door))
	}
	var closed atomic.Int32
	var wait sync.WaitGroup
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		wait.Go(func() {
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				closed.Add(1)
			}
		})
	}
	wait.Wait()
	if closed.Load() != 8 {
		t.Errorf("%d of 40 connections closed, want 8", closed.Load())
	}
	_, err := h.asker.Members(t.Context(), first.door)
	wantErr(t, err, join.ErrUnreachable)
	for _, conn := range conns {
		_ = conn.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		if _, err := h.asker.Members(t.Context(), first.door); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}

	// A request has an end.
	config := &tls.Config{InsecureSkipVerify: true}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	large := `{"secret":"` + strings.Repeat("x", 100<<10) + `"}`
	resp, err := client.Post("https://"+first.door+"/v1/join", "application/json", strings.NewReader(large))
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a request of 100 KiB: status %d", resp.StatusCode)
		}
	}
}

func TestRequestsEndWithTheirContexts(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	h := c.host("second")
	h.join(first)
	c.mem.Hang()
	defer c.mem.Up()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := h.asker.Renew(ctx, first.door); err == nil || time.Since(begun) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	// The door closes with a request on its way and a connection that is silent.
	dial(t, first.door)
	var wait sync.WaitGroup
	wait.Go(func() { _ = h.asker.Renew(t.Context(), first.door) })
	for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	begun = time.Now()
	if err := first.close(); err != nil || time.Since(begun) > 3*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	wait.Wait()

	c.mem.Up()
	first.open()
	c.mem.Down()
	wantErr(t, h.asker.Renew(t.Context(), first.door), store.ErrUnavailable)
}

func TestNothingSecretIsLogged(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	wrong := first.token()
	wrong.Secret = authority.NewSecret()
	h := c.host("third")
	_, err := h.asker.Join(t.Context(), first.door, wrong, h.who())
	wantErr(t, err, join.ErrWrongToken)
	custody, _, err := second.id.Custody()
	second.must(err)
	log := c.log.String()
	if !strings.Contains(log, "host joined") || !strings.Contains(log, "custody handed over") {
		t.Errorf("log is\n%s", log)
	}
	for _, secret := range []string{wrong.Secret, custody.Secret, string(custody.Authorities[0].PEM()), authority.Digest(custody.Secret), "PRIVATE KEY"} {
		if strings.Contains(log, secret) {
			t.Error("a secret is in the log")
		}
	}
	items, _, err := c.mem.List(t.Context(), store.Prefix("/"))
	first.must(err)
	for _, it := range items {
		if bytes.Contains(it.Value, []byte(custody.Secret)) || bytes.Contains(it.Value, []byte("PRIVATE KEY")) {
			t.Errorf("%s has a secret", it.Key)
		}
	}
}

func TestDoorOf(t *testing.T) {
	for base, want := range map[string]string{
		"pi": "pi:2381", "pi:4000": "pi:4002", "192.0.2.1": "192.0.2.1:2381", "::1": "[::1]:2381", "[::1]": "[::1]:2381", "[::1]:5": "[::1]:7",
		"": "", "pi:0": "", "pi:65534": "", "pi:x": "", "https://pi": "", ":2379": "",
	} {
		got, err := join.DoorOf(base)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("door of %q is %q (%v), want %q", base, got, err, want)
		}
	}
}

// TestThroughASession does with a node's right to write what others here do
// with the bare store, and ends with the right.
func TestThroughASession(t *testing.T) {
	c := newCluster(t)
	s := session.New(c.mem, session.Identity{Node: "first", Install: "i", Boot: "b"}, &storetest.Past{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-s.Opened()
	h := c.host("first")
	h.custodian = join.NewCustodian(s, h.id, c.clock.Now, slog.New(slog.DiscardHandler))
	h.must(h.custodian.Found(ctx))
	for range 60 { // as many as take more than one transaction to revoke
		h.must(h.custodian.Own(ctx, authority.Subject{Node: "first"}))
	}
	if _, err := join.Revoke(ctx, s, "first"); err != nil {
		t.Error(err)
	}
	if serials, err := join.Refused(ctx, c.mem, c.clock.Now()); err != nil || len(serials) != 120 {
		t.Errorf("%d refused (%v), want 120", len(serials), err)
	}
	c.put(store.Put(store.EpochKey("first"), store.Encode(store.Epoch{Epoch: 99, Evicted: true})))
	wantErr(t, h.custodian.Own(ctx, authority.Subject{Node: "first"}), store.ErrFenced)
}

// TestWhoIsNoMemberAnyMore: nobody waits for a certificate that was let go of.
func TestWhoIsNoMemberAnyMore(t *testing.T) {
	c := newCluster(t)
	first := c.founder("first")
	second := c.newMember("second", first)
	second.must(second.close())
	first.must(first.custodian.BeginRoots(t.Context()))
	c.put(store.Delete(store.MemberKey("second")))
	second.must(second.id.DropMember())
	second.must(second.id.DropCustody())
	second.door = ""
	second.care(first)
	first.care(nil)
	first.step(join.Rotation{Stage: join.Replacing, Waiting: []string{"first", "second"}})
}
