package join_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
	"gvlan/cluster/store/join"
	"gvlan/cluster/store/storetest"
)

// clock is the time of all hosts of a test.
type clock struct{ since atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.since.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.since.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.since.Add(int64(d)) }

// buffer is a log that several goroutines write.
type buffer struct {
	mu  sync.Mutex
	raw bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.raw.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.raw.String()
}

// cluster is a store, its time, and what its doors log.
type cluster struct {
	t     *testing.T
	mem   *storetest.Mem
	clock *clock
	log   *buffer
	life  atomic.Pointer[join.Standing] // what doors say
	heard atomic.Pointer[string]        // door that an asker named last
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, mem: storetest.NewMem(), clock: newClock(), log: &buffer{}}
	c.put(store.Put(store.MetaKey(), store.Encode(store.Meta{Schema: store.Schema, UUID: "the-cluster"})))
	return c
}

// put writes and returns the revision.
func (c *cluster) put(ops ...store.Op) store.Revision {
	c.t.Helper()
	res, err := c.mem.Commit(c.t.Context(), store.Txn{Then: ops})
	if err != nil {
		c.t.Fatal(err)
	}
	return res.Revision
}

// host is one with an identity; a member has a door too.
type host struct {
	c         *cluster
	node      string
	dir       string
	id        *authority.Identity
	asker     *join.Asker
	custodian *join.Custodian
	door      string
	close     func() error // of its door
}

func (c *cluster) host(node string) *host {
	c.t.Helper()
	dir := filepath.Join(c.t.TempDir(), "identity")
	id, err := authority.OpenIdentity(dir, node, c.clock.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	return &host{
		c: c, node: node, dir: dir, id: id,
		asker:     join.NewAsker(id, c.clock.Now),
		custodian: join.NewCustodian(c.mem, id, c.clock.Now, slog.New(slog.NewTextHandler(c.log, nil))),
	}
}

// founder is the first host of a cluster, with its door open.
func (c *cluster) founder(node string) *host {
	c.t.Helper()
	h := c.host(node)
	h.must(h.custodian.Found(c.t.Context()))
	h.must(h.custodian.Own(c.t.Context(), authority.Subject{Node: node}))
	h.open()
	return h
}

// open opens a host's door, and writes that it is a member.
func (h *host) open() {
	h.c.t.Helper()
	ctx, cancel := context.WithCancel(h.c.t.Context())
	l, err := join.Listen(ctx, "127.0.0.1:0")
	h.must(err)
	h.door = l.Addr().String()
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(h.c.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	door := join.NewDoor(h.c.mem, h.id, h.custodian, h.c.clock.Now, log)
	door.Standing = func(_ store.Life, door string) join.Standing {
		h.c.heard.Store(&door)
		return *h.c.life.Load()
	}
	go func() { ended <- door.Run(ctx, l) }()
	h.close = sync.OnceValue(func() error { cancel(); return <-ended })
	h.c.t.Cleanup(func() {
		if err := h.close(); err != nil {
			h.c.t.Errorf("door of %s: %v", h.node, err)
		}
	})
	h.member()
}

// member writes that a host has a place in the store.
func (h *host) member() {
	h.c.t.Helper()
	h.c.put(store.Put(store.MemberKey(h.node), store.Encode(store.Member{
		Node: h.node, Client: "192.0.2.7:2379", Peer: "host.example:2380", Door: h.door,
	})))
}

func (h *host) must(err error) {
	h.c.t.Helper()
	if err != nil {
		h.c.t.Fatalf("%s: %v", h.node, err)
	}
}

func (h *host) token() authority.Token {
	h.c.t.Helper()
	token, err := h.custodian.Token(h.c.t.Context())
	h.must(err)
	return token
}

func (h *host) who() join.Applicant {
	return join.Applicant{Node: h.node, Host: h.node + ".example", Install: "install-" + h.node}
}

// join joins at a member, and accepts what it is given.
func (h *host) join(at *host) join.Answer {
	h.c.t.Helper()
	answer, err := h.asker.Join(h.c.t.Context(), at.door, at.token(), h.who())
	h.must(err)
	h.must(h.id.Accept(answer.Certificate, answer.Roots))
	h.must(join.Settle(h.c.t.Context(), h.c.mem, h.id))
	return answer
}

// newMember joins and takes a place in the store, custody and a door.
func (c *cluster) newMember(node string, at *host) *host {
	c.t.Helper()
	h := c.host(node)
	h.join(at)
	h.member()
	h.must(h.custodian.Refresh(c.t.Context(), h.asker, node))
	h.must(h.asker.MemberCertificate(c.t.Context(), at.door))
	h.must(join.Settle(c.t.Context(), c.mem, h.id))
	h.open()
	return h
}

// record is what the store has of a host's certificate.
func (h *host) record() store.Certificate {
	h.c.t.Helper()
	it, err := h.c.mem.Get(h.c.t.Context(), store.CertificateKey(h.node, authority.Serial(h.id.Certificate())))
	h.must(err)
	c, err := store.Decode[store.Certificate](it)
	h.must(err)
	return c
}

// forge makes a certificate for a host's key with a stolen authority, of a number
// that the thief chose.
func (h *host) forge(a *authority.Authority, serial *big.Int) *x509.Certificate {
	h.c.t.Helper()
	csr, err := h.id.Request(false)
	h.must(err)
	asked, err := x509.ParseCertificateRequest(csr)
	h.must(err)
	block, _ := pem.Decode(a.PEM())
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	h.must(err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: h.node},
		NotBefore: h.c.clock.Now(), NotAfter: h.c.clock.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.Root(), asked.PublicKey, key)
	h.must(err)
	cert, err := x509.ParseCertificate(der)
	h.must(err)
	return cert
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// dial opens a connection to a door, which the test closes.
func dial(t *testing.T, door string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", door)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
