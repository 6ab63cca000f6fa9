package ipam

import (
	"errors"
	"testing"

	"gvlan/driver/journal"
)

var errFullDisk = errors.New("no space left on device")

// breakJournal has the journal take nothing, or everything again.
func (h *host) breakJournal(err error) {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	h.journal.broken = err
}

// TestABindThatTheJournalDoesNotTake is none: the container does not start, so
// the release that Docker sends then gives the address back.
func TestABindThatTheJournalDoesNotTake(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		ct := &container{n: n, endpoint: n.h.id("endpoint"), pools: n.ids}
		ct.life()[0]()
		n.h.breakJournal(errFullDisk)
		if err := ct.bind("web"); !errors.Is(err, errFullDisk) {
			c.Fatalf("bind: %v, want %v", err, errFullDisk)
		}
		n.h.breakJournal(nil)
		ct.release()
		if items := c.leased(); len(items) != 0 {
			c.Errorf("the store holds %v of a container that never ran", KeysOf(items))
		}
	})
}

// TestAnUnbindingThatTheJournalDoesNotTake permits no release: an agent that
// starts anew would have the address as its container's.
func TestAnUnbindingThatTheJournalDoesNotTake(t *testing.T) {
	onEveryStore(t, func(c *cluster) {
		n := c.host("h1").mustCreate("10.0.0.0/24")
		n.h.ready()
		ct := n.mustRun("web", "")
		n.h.must(n.h.journal.Write(nil))
		n.h.breakJournal(errFullDisk)
		if err := n.h.Unbind(n.h.ctx(), ct.endpoint); !errors.Is(err, errFullDisk) {
			c.Fatalf("unbind: %v, want %v", err, errFullDisk)
		}
		_ = n.h.ReleaseAddress(n.h.ctx(), ct.pools[0], ct.ip()) // Docker sends it nonetheless
		if items := c.leased(); len(items) != 1 {
			c.Errorf("the store holds %v, and the journal has %s as the container's", KeysOf(items), ct.ip())
		}
		n.h.breakJournal(nil)
		n.h.must(n.h.Free(n.h.ctx(), ct.endpoint)) // the reconcile loop's second look
		if left := n.h.Memory.Leases(func(journal.Lease) bool { return true }); len(left) != 0 {
			c.Errorf("%v is left", left)
		}
	})
}

// TestAnAddressThatTheJournalDoesNotTake is given back without anybody's asking:
// Docker was refused, and releases nothing.
func TestAnAddressThatTheJournalDoesNotTake(t *testing.T) {
	for _, asked := range []string{"", "10.0.0.9"} {
		t.Run("asked for "+asked, func(t *testing.T) {
			onEveryStore(t, func(c *cluster) {
				n := c.host("h1").mustCreate("10.0.0.0/24")
				n.h.ready()
				n.h.breakJournal(errFullDisk)
				if _, err := n.h.RequestAddress(n.h.ctx(), AddressRequest{PoolID: n.ids[0], Address: asked}); !errors.Is(err, errFullDisk) {
					c.Fatalf("request: %v, want %v", err, errFullDisk)
				}
				n.h.breakJournal(nil)
				n.h.waitFor("the address is given back", func() bool { return len(c.leased()) == 0 })
			})
		})
	}
}
