package driver

import (
	"os"
	"path/filepath"
	"testing"

	"gvlan/driver/netns"
)

// withoutJournal is a host whose agent ended, and whose journal is lost, while
// a container runs on lan1, of VLAN 10.
func withoutJournal(t *testing.T) *machine {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24", with("parent", "eth1.10")))
	h.replica("lan1")
	link := h.run("web", "lan1").joined.InterfaceName.SrcName
	h.stop()
	h.must(os.Remove(filepath.Join(h.dir, "journal.db")))
	h.elsewhere = func() []*netns.Namespace {
		ns, err := netns.Current()
		h.must(err)
		h.must(h.links.Move(link, ns.Fd(), "eth0"))
		return []*netns.Namespace{ns}
	}
	return h
}

// takenBack starts the agent and waits until it has its network back.
func (h *machine) takenBack() {
	h.Helper()
	h.start()
	h.eventually("the network is taken back", func() bool { return len(h.d.Memory.Networks()) == 1 })
}

// keepsParent checks that the running container has what it hangs from.
func (h *machine) keepsParent() {
	h.Helper()
	if _, err := h.links.Read(h.Context(), "eth1.10"); err != nil {
		h.Errorf("the running container's parent: %v", err)
	}
}

// TestALostJournalKeepsTheParentsOfContainers: the kernel takes a container's
// link along with its parent, and a lost journal does not tell which parents
// have some, neither before the networks are taken back nor just afterwards.
func TestALostJournalKeepsTheParentsOfContainers(t *testing.T) {
	for name, away := range map[string]bool{"taken back": false, "etcd is away": true} {
		t.Run(name, func(t *testing.T) {
			h := withoutJournal(t)
			if away {
				h.wire.Down()
				h.launch()
			} else {
				h.takenBack()
			}
			h.must(h.d.Reconcile(t.Context(), h.reconciler().s))
			h.keepsParent()
		})
	}
}

// TestANetworkThatGoesLeavesTheParentOfOthers: a network taken back after a
// lost journal does not say which links it uses, and another one on the same
// VLAN is removed.
func TestANetworkThatGoesLeavesTheParentOfOthers(t *testing.T) {
	h := withoutJournal(t)
	h.takenBack()
	h.create(lan("lan2", "10.0.2.0/24", with("parent", "eth1.10")))
	h.replica("lan2")
	h.rm("lan2")
	h.keepsParent()
}
