package driver

import (
	"os"
	"path/filepath"
	"testing"

	"gvlan/driver/netns"
)

// TestALostJournalKeepsTheParentsOfContainers: the kernel takes a container's
// link along with its parent, and a lost journal does not tell which parents
// have some, neither before the networks are taken back nor just afterwards.
func TestALostJournalKeepsTheParentsOfContainers(t *testing.T) {
	for name, away := range map[string]bool{"taken back": false, "etcd is away": true} {
		t.Run(name, func(t *testing.T) {
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
			if away {
				h.wire.Down()
				h.launch()
			} else {
				h.start()
				h.eventually("the network is taken back", func() bool { return len(h.d.state.allNetworks()) == 1 })
			}
			h.must(h.d.reconcile(t.Context(), h.reconciler().s))
			if _, err := h.links.Read(t.Context(), "eth1.10"); err != nil {
				t.Errorf("the running container's parent: %v", err)
			}
		})
	}
}

// TestANetworkThatGoesLeavesTheParentOfOthers: a network taken back after a
// lost journal does not say which links it uses, and another one on the same
// VLAN is removed.
func TestANetworkThatGoesLeavesTheParentOfOthers(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24", with("parent", "eth1.10")))
	h.replica("lan1")
	link := h.run("web", "lan1").joined.InterfaceName.SrcName
	h.stop()
	h.must(os.Remove(filepath.Join(h.dir, "journal.db")))
	h.start()
	h.eventually("the network is taken back", func() bool { return len(h.d.state.allNetworks()) == 1 })
	h.create(lan("lan2", "10.0.2.0/24", with("parent", "eth1.10")))
	h.replica("lan2")
	h.elsewhere = func() []*netns.Namespace {
		ns, err := netns.Current()
		h.must(err)
		h.must(h.links.Move(link, ns.Fd(), "eth0"))
		return []*netns.Namespace{ns}
	}
	h.rm("lan2")
	if _, err := h.links.Read(t.Context(), "eth1.10"); err != nil {
		t.Errorf("the running container's parent: %v", err)
	}
}
