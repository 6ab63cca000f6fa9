package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gvlan/cluster/store/storetest"
	"gvlan/ipam/audit"
	"gvlan/ipam/pool"
)

// witness is what a host's memory says of its own.
type witness struct{ *host }

func (w witness) Node() string { return w.name }

func (w witness) HasLease(segment string, addr netip.Addr) bool {
	_, known := w.Memory.Lease(pool.At(segment, addr))
	return known
}

func (w witness) HasEndpoint(id string) bool {
	_, known := w.Memory.Binding(id)
	return known
}

// TestAnAuditOfALivingClusterFindsNothing, whatever is under way there: its two
// looks come without a pause, so that nothing between them has time to settle.
func TestAnAuditOfALivingClusterFindsNothing(t *testing.T) {
	const audits = 100 // of all hosts, that saw something under way
	onMem(t, func(c *cluster, mem *storetest.Mem) {
		mem.PageSize = 50
		origin := c.host("h1").mustCreate("10.0.0.0/27", "fd00:1::/120").define("lan")
		lans := []*lan{origin}
		for _, name := range []string{"h2", "h3"} {
			n := c.host(name).mustCreate("10.0.0.0/27", "fd00:1::/120")
			n.def = origin.def
			n.h.must(n.h.Adopt(n.id, n.def, 0))
			lans = append(lans, n)
		}
		var done atomic.Bool
		var twice atomic.Int64
		var busy, auditing sync.WaitGroup
		for i, n := range lans {
			chance := rand.New(rand.NewPCG(14, uint64(i)))
			busy.Go(func() {
				for round := 0; !done.Load(); round++ {
					n.live(chance, round)
				}
			})
			auditing.Go(func() {
				auditor := audit.Auditor{KV: n.h.session, Grant: n.h.session.Grant, Own: witness{n.h}, Gap: time.Nanosecond, Now: time.Now}
				for twice.Load() < audits {
					report, err := auditor.Audit(c.Context(), func(time.Duration) { twice.Add(1) })
					if err != nil {
						c.Errorf("audit: %v", err)
						return
					}
					for _, f := range report.Findings {
						c.Errorf("%s finds %s %s of %q: %s", n.h.name, f.Kind, f.Key, f.Node, f.Why)
					}
				}
			})
		}
		auditing.Wait()
		done.Store(true)
		busy.Wait()
	})
}

// TestAHostKnowsItsOwn once it compared its memory with the store, whatever was
// lost of the one.
func TestAHostKnowsItsOwn(t *testing.T) {
	onMem(t, func(c *cluster, _ *storetest.Mem) {
		n := c.host("h1").mustCreate("10.0.0.0/24").define("lan")
		web := n.mustRun("web", "")
		n.h.stop()
		n.h.journal = newDisk()
		n.h.load()
		if n.h.KnowsItsOwn() {
			c.Error("an agent that never ran knows its own")
		}
		n.h.start()
		n.h.waitFor("the host knows its own", n.h.KnowsItsOwn)
		if at := web.addrs[0].Addr(); !(witness{n.h}).HasLease(pool.DefaultSegment, at) {
			c.Errorf("it does not know %s", at)
		}
		n.h.must(n.h.Free(c.Context(), web.endpoint))
	})
}

// live does some of what a host does in a day.
func (n *lan) live(chance *rand.Rand, round int) {
	var running []*container
	for range 1 + chance.IntN(3) {
		mac := ""
		if chance.IntN(3) == 0 {
			mac = fmt.Sprintf("02:00:00:00:%02x:%02x", chance.IntN(2), chance.IntN(4)) // others may want it too
		}
		if ct, err := n.runWith("", mac); err == nil { // IPv4 only
			running = append(running, ct)
		}
		if ct, err := n.run("both", ""); err == nil {
			running = append(running, ct)
		}
	}
	if got, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0]}); err == nil { // a start that fails
		n.h.must(n.h.ReleaseAddress(n.h.ctx(), n.ids[0], got.Addr().String()))
	}
	if round%4 == 0 {
		if own, err := n.h.create(flags{subnets: []string{""}}); err == nil {
			own.define(fmt.Sprintf("of-%s-%d", n.h.name, round))
			if ct, err := own.run("", ""); err == nil {
				ct.stop()
			}
			own.undefine()
			own.remove()
		}
	}
	for _, ct := range running {
		ct.stop()
	}
}
