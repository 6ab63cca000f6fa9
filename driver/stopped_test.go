package driver

import (
	"os"
	"path/filepath"
	"testing"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/publish"
)

// kept are the addresses that a host says its stopped containers want again.
func (h *machine) kept() []string {
	it, err := h.mem.Get(h.Context(), store.RefsKey(h.name))
	if err != nil {
		return nil
	}
	refs, err := store.Decode[store.Refs](it)
	h.must(err)
	var all []string
	for _, k := range refs.Kept {
		all = append(all, k.Address.String())
	}
	return all
}

func (h *machine) keeps(want ...string) {
	h.Helper()
	h.eventually("the kept addresses of "+h.name, func() bool {
		got := h.kept()
		same := len(got) == len(want)
		for i := range got {
			same = same && got[i] == want[i]
		}
		return same
	})
}

// startNew is `docker run` whose create the agent has heard of.
func (h *machine) startNew(name, network string) *container {
	h.Helper()
	n, err := h.engine.Network(h.Context(), network)
	h.must(err)
	spec := enginetest.ContainerSpec{Name: name, Network: network}
	ct := &container{h: h, spec: spec, id: h.engine.CreateContainer(spec)}
	h.eventually(name+" is heard of", func() bool { return h.d.Stopped.Newcomers(n.ID) })
	h.must(ct.start())
	h.eventually(name+" is seen to run", func() bool { return !h.d.Stopped.Newcomers(n.ID) })
	return ct
}

// TestAddressesOfStoppedContainers are given to others last, on every host, and
// come back to their owners.
func TestAddressesOfStoppedContainers(t *testing.T) {
	c := newCluster(t)
	h1, h2 := c.host("h1"), c.host("h2")
	h1.create(lan("lan1", "10.0.1.0/24"))
	h1.replica("lan1")
	h2.replica("lan1")
	web := h1.startNew("web", "lan1")
	fixed := h1.run("fixed", "lan1", ip("10.0.1.3"))
	task := enginetest.ContainerSpec{Name: "task", Network: "lan1", Labels: map[string]string{publish.TaskLabel: "t"}}
	ended := &container{h: h1, spec: task, id: h1.engine.CreateContainer(task)}
	h1.must(ended.start())
	if web.address() != "10.0.1.2" || ended.address() != "10.0.1.4" {
		t.Fatalf("web has %s, the task %s", web.address(), ended.address())
	}
	h1.keeps()
	web.stop()
	fixed.stop()
	ended.stop()
	h1.keeps("10.0.1.3", "10.0.1.2")
	h2.eventually("h2 leaves them alone", func() bool {
		x := h2.run("x", "lan1")
		x.stop()
		x.remove()
		return x.address() == "10.0.1.4"
	})
	if x := h1.startNew("new", "lan1"); x.address() != "10.0.1.4" {
		t.Errorf("a new container has %s, want 10.0.1.4", x.address())
	}
	h1.stop()
	h1.start()
	h1.keeps("10.0.1.3", "10.0.1.2")
	h1.eventually("the agent knows again what was web's", func() bool {
		h1.must(web.start())
		if web.address() == "10.0.1.2" {
			return true
		}
		web.stop()
		return false
	})
	h1.keeps("10.0.1.3")
	fixed.remove()
	h1.keeps()
}

// TestAddressesOfStoppedContainersOutliveTheJournal: the first look after a
// lost journal knows no network yet.
func TestAddressesOfStoppedContainersOutliveTheJournal(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	h.create(lan("own", "10.0.2.0/24", func(r *engine.NetworkRequest) { r.Options["scope"] = "local" }))
	h.replica("lan1")
	stopped := []*container{h.startNew("web", "lan1"), h.startNew("db", "own")}
	for _, ct := range stopped {
		ct.stop()
	}
	h.keeps("10.0.1.2", "10.0.2.2")
	h.eventually("the node's record tells of its own network", func() bool {
		it, err := h.session.Get(t.Context(), store.NodeKey("h1"))
		if err != nil {
			return false
		}
		node, err := store.Decode[store.Node](it)
		h.must(err)
		return len(node.Networks) == 2
	})
	h.stop()
	h.must(os.Remove(filepath.Join(h.dir, "journal.db")))
	h.start()
	h.eventually("both networks are taken back", func() bool { return len(h.d.Memory.Networks()) == 2 })
	late := h.startNew("late", "lan1")
	late.stop() // what is kept is one record: with this address in it, the look was done
	h.keeps("10.0.1.2", "10.0.1.3", "10.0.2.2")
}
