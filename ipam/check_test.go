package ipam

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/journal"
	"gvlan/ipam/audit"
	"gvlan/ipam/pool"
)

// check is what must hold after every scenario, once the hosts settled what
// they owe: every lease has one owner that knows it, every bound lease an
// endpoint record that names the address and the other way round, every
// reservation somebody who needs it, every default subnet too.
func (c *cluster) check() {
	c.Helper()
	for _, h := range c.hosts {
		h.stop() // so that nothing moves while it is looked at
		if h.session.Trusted() == nil {
			h.attend(c.Context())
		}
	}
	endpoints := map[string]store.Endpoint{}
	for _, it := range c.list(store.EndpointsSpan()) {
		rec, err := store.Decode[store.Endpoint](it)
		if err != nil {
			c.Fatal(err)
		}
		endpoints[rec.Node+"/"+rec.Endpoint] = rec
	}
	found := map[string]int{} // addresses per endpoint
	for _, it := range c.list(store.AllLeasesSpan()) {
		c.checkLease(it, endpoints, found)
	}
	for id, rec := range endpoints {
		want := 0
		for _, addr := range append([]string{rec.IPv4, rec.IPv6}, rec.Fixed...) {
			if addr != "" {
				want++
			}
		}
		if found[id] != want {
			c.Errorf("endpoint %s has %d leases, its record names %d", id, found[id], want)
		}
	}
	c.checkLedgers()
	c.checkAudit()
	for _, it := range c.list(store.DefaultPoolsSpan()) {
		rec, err := store.Decode[store.DefaultPool](it)
		if err != nil {
			c.Fatal(err)
		}
		if len(rec.By) == 0 && !c.hasPool(store.PoolEntry(rec.Nonce, rec.Node)) {
			c.Errorf("default subnet %s is nobody's", rec.Subnet)
		}
	}
}

// checkAudit wants an audit to find nothing, whoever is connected.
func (c *cluster) checkAudit() {
	c.Helper()
	auditor := audit.Auditor{KV: c.far, Grant: c.far.Grant, Gap: time.Nanosecond, Now: time.Now}
	report, err := auditor.Audit(c.Context(), nil)
	if err != nil {
		c.Fatal(err)
	}
	for _, f := range report.Findings {
		c.Errorf("an audit finds %s %s of %q: %s", f.Kind, f.Key, f.Node, f.Why)
	}
}

func (c *cluster) checkLease(it store.Item, endpoints map[string]store.Endpoint, found map[string]int) {
	c.Helper()
	segment, addr, err := store.LeaseOf(it.Key)
	rec, bad := store.Decode[store.Lease](it)
	if err := errors.Join(err, bad); err != nil {
		c.Fatal(err)
	}
	if rec.State == store.Reserved {
		if len(rec.By) == 0 {
			c.Errorf("reservation %s is nobody's", addr)
		}
		for _, name := range rec.By {
			if !c.hasPool(name) && !c.hasDefinition(name) {
				c.Errorf("reservation %s is for %s, which is gone", addr, name)
			}
		}
		return
	}
	if h := c.hostNamed(rec.Node); h != nil {
		if l, ok := h.Memory.Lease(pool.At(segment, addr)); !ok || l.Nonce != rec.Nonce || l.Created != it.Created {
			c.Errorf("lease %s of %s: node has %+v, store has %+v created %d", addr, rec.Node, l, rec, it.Created)
		} else if (l.State == journal.Bound) != (rec.Endpoint != "") || l.State == journal.Bound && l.Endpoint != rec.Endpoint {
			c.Errorf("lease %s of %s: node says %s %s, store says %q", addr, rec.Node, l.State, l.Endpoint, rec.Endpoint)
		}
	}
	if rec.Endpoint == "" {
		return
	}
	id := rec.Node + "/" + rec.Endpoint
	found[id]++
	if e, ok := endpoints[id]; !ok || !slices.ContainsFunc(append([]string{e.IPv4, e.IPv6}, e.Fixed...), func(s string) bool {
		p, err := netip.ParsePrefix(s)
		return err == nil && p.Addr() == addr
	}) {
		c.Errorf("lease %s is bound to endpoint %s, whose record is %+v", addr, id, e)
	}
}

// checkLedgers wants every live lease of a host in the store.
func (c *cluster) checkLedgers() {
	c.Helper()
	for _, h := range c.hosts {
		if h.session.Trusted() != nil {
			continue
		}
		for _, l := range h.Memory.Leases(func(journal.Lease) bool { return true }) {
			if _, rec := c.leaseAt(l.Segment, l.Address.String()); rec.Nonce != l.Nonce {
				c.Errorf("node %s has lease %+v, the store has %+v", h.name, l, rec)
			}
		}
		c.checkJournal(h)
	}
}

// checkJournal wants a host's journal to hold what its memory does.
func (c *cluster) checkJournal(h *host) {
	c.Helper()
	again, err := journal.Recall(h.journal)
	if err != nil {
		c.Fatal(err)
	}
	doubted := func(b *journal.Memory) []journal.Lease { // as a restart would see them
		all := b.Leases(func(journal.Lease) bool { return true })
		for i := range all {
			all[i].Doubt = true
		}
		return all
	}
	if diff := cmp.Diff(doubted(h.Memory), doubted(again), comparers); diff != "" {
		c.Errorf("journal of %s (-memory +journal):\n%s", h.name, diff)
	}
	open := func(journal.Pool) bool { return true }
	if kept, mem := len(again.Pools(open)), len(h.Memory.Pools(open)); kept != mem {
		c.Errorf("journal of %s holds %d pools, memory %d", h.name, kept, mem)
	}
}

func (c *cluster) hostNamed(node string) *host {
	for _, h := range c.hosts {
		if h.name == node {
			return h
		}
	}
	return nil
}

func (c *cluster) hasPool(name string) bool {
	_, node, ok := strings.Cut(name, "@")
	h := c.hostNamed(node)
	if !ok || h == nil {
		return false
	}
	_, known := h.poolBy(name)
	return known
}

func (c *cluster) hasDefinition(uuid string) bool {
	for _, it := range c.list(store.NetworksSpan()) {
		if def, err := store.Decode[store.Network](it); err == nil && def.UUID == uuid {
			return true
		}
	}
	return false
}

// disk is a journal.File in memory.
type disk struct {
	mu     sync.Mutex
	values map[journal.Key][]byte
	kept   map[journal.Key][]byte // since the last write
	broken error                  // what writes return
	lost   bool                   // what was kept
}

func newDisk() *disk {
	return &disk{values: map[journal.Key][]byte{}, kept: map[journal.Key][]byte{}}
}

func (d *disk) Write(values map[journal.Key][]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	maps.Copy(d.values, d.kept)
	maps.Copy(d.values, values)
	clear(d.kept)
	return nil
}

func (d *disk) Keep(values map[journal.Key][]byte) (due bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.Copy(d.kept, values)
	return false, d.broken
}

// all is what an agent reads that starts now, in the same boot.
func (d *disk) all() map[journal.Key][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := maps.Clone(d.values)
	maps.Copy(all, d.kept)
	return all
}

// cut is a power cut: what was kept is lost.
func (d *disk) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.kept)
	d.lost = true
}

func (d *disk) Complete() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.lost
}

func (d *disk) Each(bucket string, f func(string, []byte) error) error {
	for k, v := range d.all() {
		if k.Bucket != bucket || v == nil {
			continue
		}
		if err := f(k.Key, v); err != nil {
			return err
		}
	}
	return nil
}

type tempDir struct{ path string }

// mkTemp makes a folder that outlives the test that happens to need it first.
func mkTemp() (tempDir, error) {
	path, err := os.MkdirTemp("", "gvlan-ipam-etcd-")
	return tempDir{path}, err
}

func (d tempDir) remove() { os.RemoveAll(d.path) }

var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// checkErr wants an error with that text in it, or none for "".
func checkErr(t testing.TB, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("error %q, want none", err)
	case want != "" && err == nil:
		t.Fatalf("no error, want one with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Fatalf("error %q, want one with %q", err, want)
	}
}

// someNonce is that of a pool nobody opened.
const someNonce = "0123456789abcdef0123456789abcdef"
