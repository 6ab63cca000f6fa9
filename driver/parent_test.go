package driver

import (
	"slices"
	"testing"

	"gvlan/driver/engine"
	"gvlan/driver/link"
	"gvlan/driver/netns"
)

// parentOf is what a container's link hangs from.
func (ct *container) parentOf() string {
	e, _ := ct.h.d.Memory.Endpoint(ct.endpoint)
	return e.Parent
}

// TestJoinTakesTheParentThatIsRightNow: the first candidate that is there,
// whatever was there at create.
func TestJoinTakesTheParentThatIsRightNow(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "192.168.1.0/24", with("parent", "bond0,eth1")))
	h.links.Add(link.Interface{Name: "bond0", Up: true})
	if got := h.run("web", "lan1").parentOf(); got != "bond0" {
		t.Errorf("parent %s, want bond0, which is there now", got)
	}
}

// TestListThatNothingMatchesIsAnErrorAtJoinOnly: another host may match it.
func TestListThatNothingMatchesIsAnErrorAtJoinOnly(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24", with("parent", "eth7")))
	h.replica("lan1")
	_, err := h.tryRun("web", "lan1", ip("192.168.1.50"))
	h.wantErr(err, "eth7", "h1", "eth1")
	if _, held := c.lease("192.168.1.50"); held {
		t.Error("the refused container's address is still leased")
	}
	if left := h.d.Memory.Endpoints(); len(left) > 0 {
		t.Errorf("endpoints are left: %+v", left)
	}
	h.links.Add(link.Interface{Name: "eth7", Up: true})
	if got := h.run("web2", "lan1").parentOf(); got != "eth7" {
		t.Errorf("parent %s, want eth7", got)
	}
}

// TestNetworkStaysOnOneParentWhileItRuns: a better candidate that appears is
// for the first container after the last one has gone.
func TestNetworkStaysOnOneParentWhileItRuns(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "192.168.1.0/24", with("parent", "bond0,eth1")))
	a := h.run("a", "lan1")
	h.links.Add(link.Interface{Name: "bond0", Up: true})
	b := h.run("b", "lan1")
	if a.parentOf() != "eth1" || b.parentOf() != "eth1" {
		t.Errorf("parents %s and %s, want eth1 for both: containers of one host reach each other on one parent only", a.parentOf(), b.parentOf())
	}
	a.stop()
	b.stop()
	h.must(b.start())
	if b.parentOf() != "bond0" {
		t.Errorf("parent %s, want bond0: nothing runs on eth1 any more", b.parentOf())
	}
	c := h.run("c", "lan1")
	h.links.Unplug("bond0")
	if got := h.run("d", "lan1").parentOf(); got != "eth1" {
		t.Errorf("parent %s, want eth1: %s is gone", got, c.parentOf())
	}
}

func TestWhatCannotShareAParentIsRefusedAtStart(t *testing.T) {
	tests := []struct {
		name          string
		runs, starts  engine.NetworkRequest
		says, allowed string
	}{
		{"macvlan beside ipvlan", lan("one", "10.0.1.0/24", with("ipvlan_mode", "l2")), lan("two", "10.0.2.0/24"),
			"macvlan and ipvlan cannot share a parent", ""},
		{"passthru beside bridge", lan("one", "10.0.1.0/24"), lan("two", "10.0.2.0/24", with("macvlan_mode", "passthru")),
			"passthru link takes its parent for itself", ""},
		{"bridge beside passthru", lan("one", "10.0.1.0/24", with("macvlan_mode", "passthru")), lan("two", "10.0.2.0/24"),
			"passthru link takes its parent for itself", ""},
		{"ipvlan of another mode", lan("one", "10.0.1.0/24", with("ipvlan_mode", "l2")), lan("two", "10.0.2.0/24", with("ipvlan_mode", "l3")),
			"mode and flag of ipvlan belong to the parent", ""},
		{"ipvlan of another flag", lan("one", "10.0.1.0/24", with("ipvlan_mode", "l2")), lan("two", "10.0.2.0/24", with("ipvlan_mode", "l2"), with("ipvlan_flag", "private")),
			"mode and flag of ipvlan belong to the parent", ""},
		{"macvlan of another mode", lan("one", "10.0.1.0/24"), lan("two", "10.0.2.0/24", with("macvlan_mode", "private")), "", "may"},
		{"ipvlan of the same mode", lan("one", "10.0.1.0/24", with("ipvlan_mode", "l2")), lan("two", "10.0.2.0/24", with("ipvlan_mode", "l2")), "", "may"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newCluster(t).host("h1")
			h.create(tt.runs) // no create is refused: only what runs matters
			h.create(tt.starts)
			h.replica("one")
			h.replica("two")
			first := h.run("first", "one")
			_, err := h.tryRun("second", "two")
			if tt.says == "" {
				h.must(err)
				return
			}
			h.wantErr(err, tt.says, "network one", "network two", "eth1", "node h1")
			if left := h.d.Memory.EndpointsOf(h.replica("two").ID); len(left) > 0 {
				t.Errorf("the refused container left %+v", left)
			}
			first.stop()
			h.run("third", "two")
		})
	}
}

// TestLinksOfOthersElsewhereAreNotFlipped: the kernel refuses an ipvlan link
// beside macvlan, and gives running ipvlan links the mode of a new one.
func TestLinksOfOthersElsewhereAreNotFlipped(t *testing.T) {
	tests := []struct {
		name   string
		theirs link.Spec
		says   []string // nil: the container starts
	}{
		{"another mode", link.Spec{Kind: link.Ipvlan, Mode: link.L3},
			[]string{"network lan1", "node h1", "beside the link eth0 in /proc/", "it already carries ipvlan l3 link eth0 on eth1", "ipvlan's mode and flag belong to the parent"}},
		{"another flag", link.Spec{Kind: link.Ipvlan, Flag: link.FlagPrivate}, []string{"it already carries ipvlan l2 private link eth0 on eth1"}},
		{"macvlan", link.Spec{Kind: link.Macvlan}, []string{"macvlan and ipvlan cannot share a parent"}},
		{"the same mode", link.Spec{Kind: link.Ipvlan}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newCluster(t).host("h1")
			h.create(lan("lan1", "10.0.1.0/24", with("ipvlan_mode", "l2")))
			h.replica("lan1")
			tt.theirs.Name, tt.theirs.Parent = "theirs", "eth1"
			others := h.links.As("docker")
			_, err := others.Ensure(t.Context(), tt.theirs)
			h.must(err)
			h.elsewhere = func() []*netns.Namespace {
				ns, err := netns.Current()
				h.must(err)
				h.must(h.links.Move("theirs", ns.Fd(), "eth0"))
				return []*netns.Namespace{ns}
			}
			_, err = h.tryRun("web", "lan1")
			if tt.says == nil {
				h.must(err)
				return
			}
			h.wantErr(err, tt.says...)
			h.must(h.links.Move("theirs", link.Current, ""))
			if now, err := h.links.Read(t.Context(), "theirs"); err != nil || now.Mode != tt.theirs.WithDefaults().Mode {
				t.Errorf("the other link is %s now (%v), want %s", now.Spec, err, tt.theirs.WithDefaults())
			}
			if left := h.d.Memory.Endpoints(); len(left) > 0 {
				t.Errorf("the refused container left %+v", left)
			}
		})
	}
}

func TestVLANLinkIsMadeAtCreateAndGoesWithItsLastNetwork(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	for _, name := range []string{"one", "two"} {
		h.create(lan(name, map[string]string{"one": "10.0.1.0/24", "two": "10.0.2.0/24"}[name], with("parent", "eth1.20")))
		if !slices.Equal(h.ours(), []string{"eth1.20"}) {
			t.Fatalf("links %v when the create returned, want eth1.20", h.ours())
		}
		h.replica(name)
	}
	h.rm("one")
	c.pass(quiet)
	h.lacks("one")
	if !slices.Equal(h.ours(), []string{"eth1.20"}) {
		t.Errorf("links %v, want eth1.20: network two uses it", h.ours())
	}
	h.rm("two")
	if left := h.ours(); len(left) > 0 {
		t.Errorf("links %v are left when the last removal returned", left)
	}
}

func TestVLANLinkOfAPersonStays(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.links.Add(link.Interface{Name: "eth1.20", Kind: "vlan", Parent: "eth1", VLAN: 20, Up: true})
	h.create(lan("lan1", "10.0.1.0/24", with("parent", "eth1.20")))
	h.replica("lan1")
	h.rm("lan1")
	c.pass(quiet)
	h.lacks("lan1")
	if _, err := h.links.Read(t.Context(), "eth1.20"); err != nil {
		t.Errorf("the VLAN link that a person made: %v", err)
	}
}

func TestVLANLinkThatWasRemovedIsMadeAgain(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "10.0.1.0/24", with("parent", "eth1.20")))
	h.replica("lan1")
	h.links.Unplug("eth1.20")
	c.eventually("the VLAN link is back", func() bool { return slices.Contains(h.ours(), "eth1.20") })
}

func TestInternalNetworkHangsFromADummy(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	id := h.create(lan("lan1", "10.0.1.0/24", func(r *engine.NetworkRequest) { r.Internal = true }))
	dummy := link.DummyName(id)
	if !slices.Equal(h.ours(), []string{dummy}) {
		t.Errorf("links %v when the create returned, want %s", h.ours(), dummy)
	}
	h.replica("lan1")
	web := h.run("web", "lan1")
	if got := web.parentOf(); got != dummy {
		t.Errorf("parent %s, want %s", got, dummy)
	}
	web.stop()
	web.remove()
	h.rm("lan1")
	if left := h.ours(); len(left) > 0 {
		t.Errorf("links %v are left when the removal returned", left)
	}
}

// TestHostsTable: parent=@host leaves the parent to each host's own agent.
func TestHostsTable(t *testing.T) {
	h := newCluster(t).host("h1")
	h.links.Add(link.Interface{Name: "eth0", Up: true})
	h.create(lan("lan1", "10.0.1.0/24", with("parent", "@host")))
	if got := h.run("web", "lan1").parentOf(); got != "eth1" {
		t.Errorf("parent %s, want eth1, the host's default", got)
	}
}

// TestStaleLinkOfADeadEndpointIsNoObstacle: it would have the MAC of the next
// container with that address.
func TestStaleLinkOfADeadEndpointIsNoObstacle(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "10.0.1.0/24"))
	dead := link.Spec{Name: link.EndpointName("dead"), Kind: link.Macvlan, Mode: link.Bridge, Parent: "eth1", Owner: "dead", MAC: h.macOf("10.0.1.50")}
	_, err := h.links.Ensure(t.Context(), dead)
	h.must(err)
	h.run("web", "lan1", ip("10.0.1.50"))
	if slices.Contains(h.ours(), dead.Name) {
		t.Error("the dead endpoint's link, which has the container's MAC, is still there")
	}
}
