package journal_test

import (
	"errors"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/journal"
	"gvlan/driver/journal/disk"
	"gvlan/ipam/addrset"
	"gvlan/ipam/pool"
)

var errFull = errors.New("no space left on device")

// fullable is a file that can be full, and counts its transactions.
type fullable struct {
	*disk.Journal
	full   bool
	writes int
}

func (d *fullable) Write(values map[journal.Key][]byte) error {
	if d.full {
		return errFull
	}
	d.writes++
	return d.Journal.Write(values)
}

func recall(t *testing.T, file journal.File) *journal.Memory {
	t.Helper()
	m, err := journal.Recall(file)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newDisk(t *testing.T) *fullable {
	t.Helper()
	file, err := disk.Open(filepath.Join(t.TempDir(), "journal.db"), "boot", journal.Readable)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &fullable{Journal: file}
}

var (
	id     = pool.ID{Space: pool.LocalSpace, Segment: "default", Subnet: netip.MustParsePrefix("10.0.0.0/24"), Nonce: "0123456789abcdef0123456789abcdef"}
	lan    = journal.Network{ID: "n1", Stage: journal.StageSeen, UUID: "u1", Segment: "default"}
	opened = journal.Pool{ID: id.String(), Parsed: id, Seq: 1, Network: "n1"}
	web    = journal.Endpoint{ID: "e1", Network: "n1"}
	given  = journal.Lease{Segment: "default", Address: netip.MustParseAddr("10.0.0.2"), Nonce: "x", State: journal.Bound, Pool: opened.ID}
	joined = journal.Addressing{ID: "n1", UUID: "u1"}
)

// held are the addresses of leases from 10.0.0.1 to .3.
func held(m *journal.Memory) (found []string) {
	m.WithHeld("default", func(set *addrset.Set) {
		for _, text := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
			if set.Has(netip.MustParseAddr(text)) {
				found = append(found, text)
			}
		}
	})
	return found
}

// TestAChangeIsOneTransaction: of every kind, there after a restart and gone
// after another.
func TestAChangeIsOneTransaction(t *testing.T) {
	d := newDisk(t)
	m := recall(t, d)
	all := []journal.Record{lan, opened, web, given, joined, journal.Binding{Network: "n1", State: journal.Written}}
	if err := m.Put(all...); err != nil || d.writes != 1 {
		t.Fatalf("Put: %v in %d transactions, want one", err, d.writes)
	}
	for name, m := range map[string]*journal.Memory{"at once": m, "after a restart": recall(t, d)} {
		n, _ := m.Network("n1")
		p, _ := m.Pool(opened.ID)
		e, _ := m.Endpoint("e1")
		l, _ := m.Lease(given.Place())
		a, _ := m.AddressingOf("u1")
		if diff := cmp.Diff([]any{lan, opened, web, given, joined}, []any{n, p, e, l, a}, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got := held(m); !slices.Equal(got, []string{"10.0.0.2"}) {
			t.Errorf("%s the leases have %v", name, got)
		}
	}
	if err := m.Drop(all...); err != nil || d.writes != 2 {
		t.Fatalf("Drop: %v, transaction %d, want the second", err, d.writes)
	}
	for name, m := range map[string]*journal.Memory{"at once": m, "after a restart": recall(t, d)} {
		if len(m.Networks())+len(m.Endpoints())+len(held(m)) != 0 {
			t.Errorf("%s something is left", name)
		}
	}
}

// TestAFullDisk: a change that is not on disk is none; what has happened already
// is known nevertheless. Both tell.
func TestAFullDisk(t *testing.T) {
	d := newDisk(t)
	m := recall(t, d)
	if err := m.Put(lan, given); err != nil {
		t.Fatal(err)
	}
	d.full = true
	ran := false
	err := m.Change(func(c *journal.Change) error {
		c.Put(web)
		c.Drop(lan)
		c.After(func() { ran = true })
		return nil
	})
	if !errors.Is(err, errFull) || ran {
		t.Errorf("Change: %v, and what comes after ran: %v", err, ran)
	}
	noted := false
	if err := m.Note(func(c *journal.Change) { c.After(func() { noted = true }); c.Put(lan) }); !errors.Is(err, errFull) || !noted {
		t.Errorf("Note: %v, and what comes after ran: %v", err, noted)
	}
	if _, there := m.Endpoint("e1"); there || len(m.Networks()) != 1 {
		t.Error("a change that failed is seen")
	}
	if err := m.NoteDrop(given); !errors.Is(err, errFull) {
		t.Errorf("NoteDrop: %v", err)
	}
	if got := held(m); len(got) != 0 {
		t.Errorf("the lease of %v is held, which the store has given up", got)
	}
}

// TestAPanicLetsOthersGoOn: a server recovers from one, and its other calls
// change things too.
func TestAPanicLetsOthersGoOn(t *testing.T) {
	m := recall(t, newDisk(t))
	func() {
		defer func() { _ = recover() }()
		_ = m.Change(func(*journal.Change) error { panic("a bug") })
	}()
	done := make(chan error, 1)
	go func() { done <- m.Put(lan) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the journal is locked for good")
	}
}

// TestAChangeSeesItself: what it put and dropped, and a draft too; nobody else
// does before it is made.
func TestAChangeSeesItself(t *testing.T) {
	m := recall(t, newDisk(t))
	if err := m.Put(opened); err != nil {
		t.Fatal(err)
	}
	closed := opened
	closed.Closed = true
	open := func(p journal.Pool) bool { return !p.Closed }
	draft := m.Draft()
	draft.Put(closed)
	if len(draft.Pools(open)) != 0 || len(m.Pools(open)) != 1 {
		t.Error("a draft does not see what it closed, or others do")
	}
	refused := errors.New("refused")
	err := m.Change(func(c *journal.Change) error {
		c.Put(lan)
		changed := lan
		changed.Name = "lan1"
		c.Put(changed)
		if n, ok := c.Network("n1"); !ok || n.Name != "lan1" {
			t.Errorf("the change has %+v", n)
		}
		c.Drop(lan)
		if _, ok := c.Network("n1"); ok {
			t.Error("the change has what it dropped")
		}
		return refused
	})
	if !errors.Is(err, refused) || len(m.Networks()) != 0 {
		t.Errorf("Change: %v, networks %v", err, m.Networks())
	}
}

// TestAnOlderFileIsRead: as every version wrote it, and what a newer one added
// stays.
func TestAnOlderFileIsRead(t *testing.T) {
	d := newDisk(t)
	values := map[journal.Key]string{
		{Bucket: "networks", Key: "n1"}:                      `{"id":"n1","stage":"committed","uuid":"u1","options":{},"ipv4":true,"ipv6":false,"segment":"default","since":1}`,
		{Bucket: "endpoints", Key: "e1"}:                     `{"id":"e1","network":"n1","since":1,"container":{}}`,
		{Bucket: "addresses", Key: "pool/" + opened.ID}:      `{"id":"` + opened.ID + `","seq":3,"network":"n1"}`,
		{Bucket: "addresses", Key: "lease/default/10.0.0.2"}: `{"segment":"default","address":"10.0.0.2","nonce":"x","kind":"dynamic","since":1,"pool":"` + opened.ID + `","state":"given","reissued":true}`,
		{Bucket: "addresses", Key: "lease/default/10.0.0.3"}: `{"segment":"default","address":"10.0.0.3","nonce":"y","kind":"dynamic","since":1,"pool":"` + opened.ID + `","state":"reissued"}`,
		{Bucket: "addresses", Key: "network/n1"}:             `{"id":"n1","uuid":"u1"}`,
		{Bucket: "addresses", Key: "endpoint/e1"}:            `{"record":{"endpoint":"e1","node":"h","network":"u1","segment":"default","since":1,"container":{}},"network":"n1","state":"written"}`,
		{Bucket: "addresses", Key: "something new/x"}:        `{}`,
	}
	puts := map[journal.Key][]byte{}
	for k, v := range values {
		puts[k] = []byte(v)
	}
	if err := d.Write(puts); err != nil {
		t.Fatal(err)
	}
	m := recall(t, d)
	p, _ := m.Pool(opened.ID)
	l, _ := m.Lease(given.Place())
	b, _ := m.Binding("e1")
	if len(m.Networks()) != 1 || len(m.Endpoints()) != 1 || p.Parsed != id || b.State != journal.Written || !m.SameDefinition("n1", "n1") {
		t.Errorf("recalled networks %v endpoints %v pool %+v binding %+v", m.Networks(), m.Endpoints(), p, b)
	}
	again, _ := m.Lease(pool.At("default", netip.MustParseAddr("10.0.0.3")))
	for _, l := range []journal.Lease{l, again} {
		if !l.Doubt || l.State != journal.Given {
			t.Errorf("%s is %s, in doubt %v: its release may have been under way", l.Address, l.State, l.Doubt)
		}
	}
	if m.NextSeq() != 4 || !m.Knew(id.Nonce) {
		t.Errorf("the next pool is %d, want 4", m.NextSeq())
	}
	if err := m.Put(lan); err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	if err := d.Each("addresses", func(key string, _ []byte) error { kept[key] = true; return nil }); err != nil || !kept["something new/x"] {
		t.Errorf("kept %v (%v), want what a newer gvlan wrote", slices.Sorted(maps.Keys(kept)), err)
	}
}
