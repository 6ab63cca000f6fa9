package driver

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/engine/enginetest"
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

func TestParseEndpointOptions(t *testing.T) {
	tests := []struct {
		name string
		raw  string // of CreateEndpoint
		mac  string // that Docker asks for
		want EndpointOptions
		err  string
	}{
		{name: "none", raw: `{}`},
		{name: "what Docker adds", raw: `{"com.docker.network.portmap":[],"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.endpoint.macaddress":"AkJCQkJC","com.docker.network.endpoint.dnsservers":["1.1.1.1"]}`, mac: "02:42:42:42:42:42"},
		{name: "MAC", raw: `{"com.docker.network.endpoint.macaddress":"02-AB-42-42-42-42"}`, want: EndpointOptions{MAC: "02:ab:42:42:42:42"}},
		{name: "MAC that is none", raw: `{"com.docker.network.endpoint.macaddress":"nonsense"}`, err: `driver-opt com.docker.network.endpoint.macaddress="nonsense" is none`},
		{name: "what Docker does", raw: `{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.log_martians=1","com.docker.network.advertise_addr_nmsgs":"2"}`},
		{name: "published", raw: `{"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostPort":8080}]}`, want: EndpointOptions{Unheeded: []string{portsUnheeded}}},
		{name: "interface name", raw: `{"com.docker.network.endpoint.ifname":"lan0"}`, want: EndpointOptions{IfName: "lan0"}},
		{name: "bad interface name", raw: `{"com.docker.network.endpoint.ifname":"a/b"}`, err: `driver-opt com.docker.network.endpoint.ifname="a/b"`},
		{name: "long interface name", raw: `{"com.docker.network.endpoint.ifname":"sixteencharacter"}`, err: "up to 15"},
		{name: "interface name that is none", raw: `{"com.docker.network.endpoint.ifname":".."}`, err: `".."`},
		{name: "unknown", raw: `{"xyzzy":"1"}`, want: EndpointOptions{Unheeded: []string{"driver-opt xyzzy has no effect: gvlan has no such option for a container"}}},
		{name: "unknown, with an escape", raw: `{"a\u001b[2Jb":"1"}`, want: EndpointOptions{Unheeded: []string{`driver-opt "a\x1b[2Jb" has no effect: gvlan has no such option for a container`}}},
		{name: "of networks", raw: `{"parent":"eth1"}`, want: EndpointOptions{Unheeded: []string{"driver-opt parent has no effect: it is an option of networks, docker network create -o"}}},
		{name: "a short name", raw: `{"ifname":"lan0"}`, want: EndpointOptions{Unheeded: []string{"driver-opt ifname has no effect: did you mean com.docker.network.endpoint.ifname?"}}},
		{name: "of another driver", raw: `{"com.docker.network.bridge.x":"1"}`, want: EndpointOptions{Unheeded: []string{"driver-opt com.docker.network.bridge.x has no effect on a network of gvlan's"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var raw map[string]any
			if err := json.Unmarshal([]byte(test.raw), &raw); err != nil {
				t.Fatal(err)
			}
			got, err := ParseEndpointOptions(raw, test.mac)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one that says %q", err, test.err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("options (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

func TestEnginesThatNameInterfaces(t *testing.T) {
	for version, want := range map[string]bool{
		"20.10.24+dfsg1": false, "28.5.2": false, "29.7.0": false, "29.8.0": true, "29.10.1": true, "30.0.0-rc.1": true, "": true, "master": true,
	} {
		if got := namesInterfaces(version); got != want {
			t.Errorf("an engine %q names interfaces: %v, want %v", version, got, want)
		}
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
		got := h.run("web-"+network, network, opt(keyIfName, "lan0")).joined.InterfaceName
		if diff := cmp.Diff(want, names{got.DstName, got.DstPrefix}); diff != "" {
			t.Errorf("interface on %s (-want +got):\n%s", network, diff)
		}
	}
	if got := h.run("plain", "lan2"); strings.Contains(got.joined.raw, "DstName") {
		t.Errorf("Join of a container without a name answers %s", got.joined.raw)
	}
	_, err := h.tryRun("bad", "lan2", opt(keyIfName, "a b"))
	h.wantErr(err, keyIfName, `"a b"`)
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
		started = append(started, h.run(fmt.Sprintf("web%d", i), "lan1", opt(keyIfName, "lan0"), opt("vlan", "7")))
	}
	want := []string{
		"network lan1: -o com.docker.network.bridge.name has no effect on a network of gvlan's",
		"network lan1: a container's interface name (com.docker.network.endpoint.ifname) has no effect: Docker lets plugins name interfaces from 29.8 on, and this engine is 28.5.2 (web0, web1, web2, web3, web4 and 2 more)",
		"network lan1: driver-opt vlan has no effect: gvlan has no such option for a container (web0, web1, web2, web3, web4 and 2 more)",
	}
	told := func(want []string) {
		t.Helper()
		h.eventually("the warnings to be "+strings.Join(want, "; "), func() bool {
			h.d.names.poke()
			return cmp.Equal(want, h.d.Warnings())
		})
	}
	told(want)
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
	h1.must(h1.d.state.changeNetwork(id, func(n *hostNetwork) { n.Options.MTU, n.Options.IfPrefix = 0, "mine" }))
	h1.restart()
	h1.eventually("the options to be the definition's", func() bool {
		n, ok := h1.d.state.network(id)
		return ok && n.Options.MTU == 1400 && n.Options.IfPrefix == ""
	})
	c.pass(time.Minute)
	if got := h1.replica("lan1").ID; got != id {
		t.Errorf("the network was made again as %s, want %s left alone", got, id)
	}
}
