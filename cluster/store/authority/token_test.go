package authority_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/store/authority"
)

func tokenOf(a *authority.Authority) authority.Token {
	return authority.Token{Fingerprint: a.Fingerprint(), Secret: authority.NewSecret()}
}

func TestTokenIsReadAsItWasPrinted(t *testing.T) {
	for range 100 { // of every pair of random bytes
		token := tokenOf(newAuthority(t))
		text := token.String()
		if len(text) != 86 || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Fatalf("token %s", text)
		}
		for _, typed := range []string{text, " " + text + "\n", strings.ToUpper(text)} {
			if got, err := authority.ParseToken(typed); err != nil || got != token {
				t.Fatalf("%q is read as %#v, %v", typed, got, err)
			}
		}
	}
}

func TestBadTokens(t *testing.T) {
	good := tokenOf(newAuthority(t)).String()
	old := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32))
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"empty":                {"", authority.ErrToken},
		"short":                {good[:len(good)-1], authority.ErrToken},
		"long":                 {good + "a", authority.ErrToken},
		"no secret":            {good[:7+52], authority.ErrToken},
		"empty secret":         {good[:7+52+1], authority.ErrToken},
		"short fingerprint":    {good[:7+50] + good[7+52:], authority.ErrToken},
		"character":            {good[:20] + "1" + good[21:], authority.ErrToken},
		"unused bits":          {good[:len(good)-1] + "b", authority.ErrToken},
		"another release":      {"gvlan2-" + good[7:], authority.ErrToken},
		"the old":              {old, authority.ErrOldToken},
		"the old, with spaces": {" " + old + "\n", authority.ErrOldToken},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := authority.ParseToken(test.text)
			if !errors.Is(err, test.want) {
				t.Fatalf("%v, want %v", err, test.want)
			}
			// Who is told how long it should be must have another length.
			if got := strings.TrimSpace(test.text); strings.HasPrefix(got, "gvlan1-") && strings.Contains(err.Error(), fmt.Sprintf("want %d", len(got))) {
				t.Fatalf("it has the length that is wanted: %v", err)
			}
			if repeats(err.Error(), test.text) {
				t.Fatalf("the error repeats the token: %v", err)
			}
		})
	}
}

// repeats reports whether a text holds a part of a secret that is no word.
func repeats(text, secret string) bool {
	secret = strings.TrimSpace(secret)
	for i := 0; i+10 <= len(secret); i++ {
		if strings.Contains(strings.ToLower(text), strings.ToLower(secret[i:i+10])) {
			return true
		}
	}
	return false
}

func FuzzParseToken(f *testing.F) {
	f.Add("gvlan1-" + strings.Repeat("a", 52) + "-" + strings.Repeat("a", 26))
	f.Add(strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, text string) {
		token, err := authority.ParseToken(text)
		if err != nil {
			return
		}
		if token.String() != strings.ToLower(strings.TrimSpace(text)) {
			t.Fatalf("%q is read as %q", text, token.String())
		}
	})
}

func TestLogsHideSecrets(t *testing.T) {
	a := newAuthority(t)
	token := tokenOf(a)
	custody := authority.Custody{Authorities: []*authority.Authority{a}, Secret: token.Secret}
	block, _, _ := strings.Cut(strings.Split(string(a.PEM()), "\n")[1], "\n")
	var log strings.Builder
	for _, logger := range []*slog.Logger{slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))} {
		logger.Info("all", "token", token, "custody", custody, "authority", a, "custodies", []authority.Custody{custody})
	}
	_, _ = fmt.Fprintf(&log, "%#v %#v %v %+v %#v %v %#v %s", token, custody, custody, custody, a, a, []any{custody, a}, a)
	if !strings.Contains(log.String(), a.Fingerprint()) {
		t.Fatalf("the log does not tell which authority: %s", log.String())
	}
	keyBytes := fmt.Sprintf("%v", a.PEM()[40:60])
	for _, secret := range []string{token.Secret, block, keyBytes} {
		if strings.Contains(log.String(), secret) {
			t.Fatalf("the log tells %q: %s", secret, log.String())
		}
	}
}

func TestSecrets(t *testing.T) {
	one, two := authority.NewSecret(), authority.NewSecret()
	if one == two || len(one) != 26 {
		t.Fatalf("secrets %s and %s", one, two)
	}
	if authority.Digest("abc") != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Fatal("the digest is not the SHA-256")
	}
	if !authority.Matches(one, authority.Digest(one)) || authority.Matches(two, authority.Digest(one)) || authority.Matches("", "") {
		t.Fatal("a digest is that of its secret, and of no other")
	}
}

func TestTokenFindsItsAuthority(t *testing.T) {
	c := newCluster(t)
	ours, other := c.authority, newAuthority(t)
	member := c.member("one").MemberCertificate()
	node := c.node("two").Certificate()
	otherName := serverOf(t, ours, "other.example")
	foreign := sign(t, other, c.open("three"), authority.Subject{Node: "three", Member: true}, true)
	token := tokenOf(ours)
	root, err := token.Verify([]*x509.Certificate{member, ours.Root()}, start)
	if err != nil || !root.Equal(ours.Root()) {
		t.Fatalf("%v, %v", root, err)
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	for what, test := range map[string]struct {
		presented []*x509.Certificate
		now       time.Time
		want      func(error) bool
	}{
		"nothing":          {nil, start, func(err error) bool { return errors.Is(err, authority.ErrOtherAuthority) }},
		"no authority":     {[]*x509.Certificate{member}, start, func(err error) bool { return errors.Is(err, authority.ErrOtherAuthority) }},
		"another":          {[]*x509.Certificate{foreign, other.Root()}, start, func(err error) bool { return errors.Is(err, authority.ErrOtherAuthority) }},
		"ours beside":      {[]*x509.Certificate{foreign, other.Root(), ours.Root()}, start, func(err error) bool { return errors.As(err, &unknown) }},
		"only a node":      {[]*x509.Certificate{node, ours.Root()}, start, func(err error) bool { return errors.As(err, &name) || errors.As(err, &invalid) }},
		"another name":     {[]*x509.Certificate{otherName, ours.Root()}, start, func(err error) bool { return errors.As(err, &name) }},
		"after its end":    {[]*x509.Certificate{member, ours.Root()}, start.Add(ended), func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired }},
		"before it begins": {[]*x509.Certificate{member, ours.Root()}, start.Add(-2 * day), func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired }},
	} {
		if _, err := token.Verify(test.presented, test.now); !test.want(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// serverOf is a certificate that no member has: for another name.
func serverOf(t *testing.T, a *authority.Authority, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(a.PEM())
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: start, NotAfter: start.Add(day), DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.Root(), a.Root().PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

// The cluster that these tests go by: one authority, a clock, and hosts.

const (
	day   = 24 * time.Hour
	year  = 365 * day // certificates live
	ended = year + time.Second
)

var start = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func newAuthority(t testing.TB) *authority.Authority {
	t.Helper()
	a, err := authority.New(start)
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

type cluster struct {
	t         testing.TB
	authority *authority.Authority
	clock     *clock
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	return &cluster{t: t, authority: newAuthority(t), clock: &clock{now: start}}
}

// open is a host that has joined nothing.
func (c *cluster) open(name string) *authority.Identity {
	c.t.Helper()
	return c.openAt(c.t.TempDir(), name)
}

func (c *cluster) openAt(dir, name string) *authority.Identity {
	c.t.Helper()
	i, err := authority.OpenIdentity(dir, name, c.clock.Now)
	must(c.t, err)
	return i
}

// node is a host that has joined.
func (c *cluster) node(name string) *authority.Identity {
	c.t.Helper()
	i := c.open(name)
	c.join(i, name)
	return i
}

func (c *cluster) join(i *authority.Identity, name string) {
	c.t.Helper()
	must(c.t, i.Accept(c.sign(i, authority.Subject{Node: name}).Raw, authority.CertificatePEM(c.authority.Root())))
}

// member is a host that serves too.
func (c *cluster) member(name string) *authority.Identity {
	c.t.Helper()
	i := c.node(name)
	c.serve(i, name)
	return i
}

func (c *cluster) serve(i *authority.Identity, name string) {
	c.t.Helper()
	must(c.t, i.SetCustody(authority.Custody{Authorities: []*authority.Authority{c.authority}, Secret: "secret"}))
	must(c.t, i.AcceptMember(c.sign(i, authority.Subject{Node: name, Member: true}).Raw))
}

func (c *cluster) sign(i *authority.Identity, s authority.Subject) *x509.Certificate {
	c.t.Helper()
	csr, err := i.Request(s.Member)
	must(c.t, err)
	cert, err := c.authority.Sign(csr, s, c.clock.now)
	must(c.t, err)
	return cert
}

func sign(t testing.TB, a *authority.Authority, i *authority.Identity, s authority.Subject, member bool) *x509.Certificate {
	t.Helper()
	csr, err := i.Request(member)
	must(t, err)
	cert, err := a.Sign(csr, s, start)
	must(t, err)
	return cert
}

// loopback is where members are reached here.
var loopback = netip.MustParseAddr("127.0.0.1")
