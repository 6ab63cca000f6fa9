package driver

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/engine/enginetest"
	"gvlan/driver/network"
	"gvlan/driver/option"
)

const ownMAC = "02:11:22:33:44:55"

// TestMACByDriverOpt: what `docker network connect` has no flag for.
func TestMACByDriverOpt(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	h.create(lan("lan2", "192.168.2.0/24", with("kind", "ipvlan")))
	h.replica("lan1")
	h.replica("lan2")
	ct := h.run("web", "lan1", opt(option.KeyMAC, strings.ToUpper(ownMAC)))
	if e, _ := h.d.Memory.Endpoint(ct.endpoint); e.MAC != ownMAC || ct.mac != ownMAC {
		t.Errorf("the endpoint has %q and Docker was told %q, want %s", e.MAC, ct.mac, ownMAC)
	}
	ct = h.run("both", "lan1", mac("02:11:22:33:44:66"), opt(option.KeyMAC, ownMAC))
	if e, _ := h.d.Memory.Endpoint(ct.endpoint); e.MAC != "02:11:22:33:44:66" || ct.mac != "" {
		t.Errorf("the endpoint has %q and Docker was told %q, want Docker's own MAC and nothing said", e.MAC, ct.mac)
	}
	for value, network := range map[string]string{"02:11": "lan1", "nonsense": "lan1", "03:11:22:33:44:55": "lan1", ownMAC: "lan2"} {
		_, err := h.tryRun("bad-"+network, network, opt(option.KeyMAC, value))
		h.wantErr(err, option.ErrMAC.Error(), value)
	}
}

// TestComesBackWithItsMAC: no engine brings one along when a stopped container
// is attached anew.
func TestComesBackWithItsMAC(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	web := h.run("web", "lan1", mac(ownMAC), func(s *enginetest.ContainerSpec) { s.Settings.Aliases = []string{"www"} })
	plain := h.run("plain", "lan1")
	h.settle()
	for range 2 { // what came back once does so again, without having run meanwhile
		old := h.replica("lan1")
		if web.endpoint != "" {
			web.stop()
			plain.stop()
			web.endpoint = ""
		}
		h.rm("lan1")
		c.pass(quiet)
		c.eventually("the network is back", func() bool {
			_, remembered := h.d.Memory.Network(old.ID)
			return !remembered && h.replica("lan1").ID != old.ID
		})
	}
	h.must(web.start())
	h.must(plain.start())
	if e, _ := h.d.Memory.Endpoint(web.endpoint); e.MAC != ownMAC {
		t.Errorf("web came back with %s, want its own %s", e.MAC, ownMAC)
	}
	if e, _ := h.d.Memory.Endpoint(plain.endpoint); e.MAC == ownMAC || plain.mac != e.MAC {
		t.Errorf("plain came back with %s, Docker was told %q, want one that follows from its address", e.MAC, plain.mac)
	}
	full, err := h.engine.Container(t.Context(), web.id)
	h.must(err)
	if diff := cmp.Diff([]string{"www"}, full.Attachments[0].Settings.Aliases); diff != "" {
		t.Errorf("aliases of web (-want +got):\n%s", diff)
	}
}

// TestMACsOfStoppedContainers: what the engine does not tell is remembered from
// the container's last run, for as long as there is the container.
func TestMACsOfStoppedContainers(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	id := h.replica("lan1").ID
	web := h.run("web", "lan1", mac(ownMAC))
	plain := h.run("plain", "lan1")
	named := func(ct *container) func() bool {
		return func() bool {
			h.d.Containers.Refresh()
			e, _ := h.d.Memory.Endpoint(ct.endpoint)
			return e.Container.ID == ct.id
		}
	}
	h.eventually("web to be named", named(web))
	h.eventually("plain to be named", named(plain))
	web.stop()
	plain.stop()
	h.restart()
	n, _ := h.d.Memory.Network(id)
	if diff := cmp.Diff(map[string]string{web.id: ownMAC}, n.MACs); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
	told := engine.Attachment{Settings: engine.EndpointSettings{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}
	if got := endpoint.AskedMAC(web.id, told, n).String(); got != "02:00:00:00:00:01" {
		t.Errorf("asked for %s, want what the engine tells", got)
	}
	if got := endpoint.AskedMAC(web.id, engine.Attachment{}, n).String(); got != ownMAC {
		t.Errorf("asked for %s, want what is remembered", got)
	}
	web.remove()
	h.eventually("the MAC of a container that is no more to be forgotten", func() bool {
		h.d.Containers.Refresh()
		n, _ := h.d.Memory.Network(id)
		return len(n.MACs) == 0
	})
}

func TestImportedContainer(t *testing.T) {
	hw, _ := net.ParseMAC(ownMAC)
	dockers := net.HardwareAddr{0x02, 0x42, 10, 9, 0, 5}
	five := netip.MustParsePrefix("10.9.0.5/24")
	doubt := "Docker does not report whether web asked for its MAC on this network: to keep it, add --driver-opt " + option.KeyMAC + "=" + ownMAC
	tests := []struct {
		name       string
		mode       string
		driver     string
		attachment engine.Attachment
		want       network.ImportedContainer
	}{
		{"its first network", "old", "macvlan", engine.Attachment{
			Network: "old", IPv4: five, MAC: hw,
			Settings: engine.EndpointSettings{MAC: hw, Aliases: []string{"www", "web", "0123456789ab"}, Links: []string{"db"}, GwPriority: 7, DriverOpts: map[string]string{"a": "b"}, LinkLocal: []netip.Addr{netip.MustParseAddr("169.254.1.1")}},
		}, network.ImportedContainer{Name: "web", IPv4: "10.9.0.5", Aliases: []string{"www"}, Links: []string{"db"}, GwPriority: 7, DriverOpts: map[string]string{"a": "b", option.KeyMAC: ownMAC}, LinkLocal: []string{"169.254.1.1"}}},
		{"its first network, no MAC", "old", "macvlan", engine.Attachment{Network: "old", IPv4: five, MAC: hw}, network.ImportedContainer{Name: "web", IPv4: "10.9.0.5"}},
		{"its second network", "other", "macvlan", engine.Attachment{Network: "old", IPv4: five, MAC: hw}, network.ImportedContainer{Name: "web", IPv4: "10.9.0.5", Doubt: doubt}},
		{"its second network, of Docker's own MAC", "other", "macvlan", engine.Attachment{Network: "old", IPv4: five, MAC: dockers}, network.ImportedContainer{Name: "web", IPv4: "10.9.0.5"}},
		{"ipvlan", "old", "ipvlan", engine.Attachment{Network: "old", IPv4: five, MAC: hw}, network.ImportedContainer{Name: "web", IPv4: "10.9.0.5"}},
	}
	for _, test := range tests {
		c := engine.ContainerDetail{Container: engine.Container{ID: "0123456789abcdef", Name: "web", NetworkMode: test.mode}}
		if diff := cmp.Diff(test.want, network.NewImportedContainer(c, test.attachment, test.driver)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestImportSteps(t *testing.T) {
	got := network.Imported{Name: "old lan", Containers: []network.ImportedContainer{
		{Name: "web", IPv4: "10.9.0.5", IPv6: "fd00::5", Aliases: []string{"www", "it's"}, Links: []string{"db:d"}, GwPriority: -1, DriverOpts: map[string]string{option.KeyMAC: ownMAC}, LinkLocal: []string{"169.254.1.1"}, Doubt: "so be it"},
		{Name: "idle"},
	}}.Steps()
	want := []string{
		"# network old lan is defined for the cluster; the other hosts have it already. On this host:",
		"docker network disconnect -f 'old lan' web",
		"docker network disconnect -f 'old lan' idle",
		"docker network rm 'old lan'",
		"# gvlan makes its own old lan here within a second; then:",
		"# so be it",
		`docker network connect --ip 10.9.0.5 --ip6 fd00::5 --link-local-ip 169.254.1.1 --alias www --alias 'it'\''s' --link db:d --driver-opt ` + option.KeyMAC + `=` + ownMAC + ` --gw-priority -1 'old lan' web`,
		"docker network connect 'old lan' idle",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}
