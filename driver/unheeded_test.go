package driver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/engine/enginetest"
	"gvlan/driver/journal"
	"gvlan/driver/option"
)

// opt is a driver-opt of `docker run --network`.
func opt(key, value string) func(*enginetest.ContainerSpec) {
	return func(s *enginetest.ContainerSpec) {
		if s.Settings.DriverOpts == nil {
			s.Settings.DriverOpts = map[string]string{}
		}
		s.Settings.DriverOpts[key] = value
	}
}

// TestInterfaceNames: a network's prefix and a container's name are Docker's to
// carry out.
func TestInterfaceNames(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "192.168.1.0/24", with("com.docker.network.container_iface_prefix", "port")))
	h.create(lan("lan2", "192.168.2.0/24"))
	h.replica("lan1")
	h.replica("lan2")
	type names struct{ Name, Prefix string }
	for network, want := range map[string]names{"lan1": {"lan0", "port"}, "lan2": {"lan0", "eth"}} {
		got := h.run("web-"+network, network, opt(option.KeyIfName, "lan0")).joined.InterfaceName
		if diff := cmp.Diff(want, names{got.DstName, got.DstPrefix}); diff != "" {
			t.Errorf("interface on %s (-want +got):\n%s", network, diff)
		}
	}
	if got := h.run("plain", "lan2"); strings.Contains(got.joined.raw, "DstName") {
		t.Errorf("Join of a container without a name answers %s", got.joined.raw)
	}
	_, err := h.tryRun("bad", "lan2", opt(option.KeyIfName, "a b"))
	h.wantErr(err, option.KeyIfName, `"a b"`)
}

// TestWhatHasNoEffectIsTold: once in status for all containers of a network,
// and gone with them.
func TestWhatHasNoEffectIsTold(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24", with("com.docker.network.bridge.name", "br0")))
	h.replica("lan1")
	var started []*container
	for i := range 7 {
		started = append(started, h.run(fmt.Sprintf("web%d", i), "lan1", opt(option.KeyIfName, "lan0"), opt("vlan", "7")))
	}
	want := []string{
		"network lan1: -o com.docker.network.bridge.name has no effect on a network of gvlan's",
		"network lan1: a container's interface name (com.docker.network.endpoint.ifname) has no effect: Docker lets plugins name interfaces from 29.8 on, and this engine is 28.5.2 (web0, web1, web2, web3, web4 and 2 more)",
		"network lan1: driver-opt vlan has no effect: gvlan has no such option for a container (web0, web1, web2, web3, web4 and 2 more)",
	}
	told := func(want []string) {
		t.Helper()
		h.eventually("the warnings to be "+strings.Join(want, "; "), func() bool {
			h.d.Containers.Refresh()
			return cmp.Equal(want, h.d.Hints())
		})
	}
	told(want)
	if wrong := h.d.Warnings(); len(wrong) > 0 {
		t.Errorf("what harms nothing is warned of: %q", wrong)
	}
	h.restart()
	told(want)
	for _, ct := range started {
		ct.stop()
		ct.remove()
	}
	told(want[:1])
	h.rm("lan1")
	c.pass(quiet)
	h.lacks("lan1")
	told(nil)
}

// TestNewWordsReachOldNetworks: what an agent of an earlier version did not
// read in a definition this one does, and what this host's default-network-opts
// added means nothing.
func TestNewWordsReachOldNetworks(t *testing.T) {
	c, h1, _ := pair(t)
	h1.create(lan("lan1", "192.168.1.0/24", with("com.docker.network.driver.mtu", "1400")))
	id := h1.replica("lan1").ID
	h1.must(h1.d.Memory.ChangeNetwork(id, func(n *journal.Network) { n.Options.MTU, n.Options.IfPrefix = 0, "mine" }))
	h1.restart()
	h1.eventually("the options to be the definition's", func() bool {
		n, ok := h1.d.Memory.Network(id)
		return ok && n.Options.MTU == 1400 && n.Options.IfPrefix == ""
	})
	c.pass(time.Minute)
	if got := h1.replica("lan1").ID; got != id {
		t.Errorf("the network was made again as %s, want %s left alone", got, id)
	}
}
