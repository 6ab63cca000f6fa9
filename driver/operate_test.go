package driver

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
)

func TestDefineKnowsOneDriver(t *testing.T) {
	_, h1, _ := pair(t)
	drivers := func(driver, ipamDriver string) func(*engine.NetworkRequest) {
		return func(r *engine.NetworkRequest) { r.Driver, r.IPAM.Driver = driver, ipamDriver }
	}
	for _, tt := range []struct {
		name, driver, ipamDriver, says string
	}{
		{"another driver", "bridge", "", "--driver bridge: this command makes networks of gvlan only"},
		{"another IPAM driver", "gvlan", "default", "--ipam-driver default: this command makes networks of gvlan only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h1.d.Define(t.Context(), lan("lan1", "192.168.1.0/24", drivers(tt.driver, tt.ipamDriver)))
			h1.wantErr(err, tt.says)
		})
	}
	_, err := h1.d.Define(t.Context(), lan("lan1", "192.168.1.0/24", drivers("", "gvlan")))
	h1.must(err)
}

func TestDefineTellsWarnings(t *testing.T) {
	_, h1, _ := pair(t)
	_, err := h1.d.Define(t.Context(), lan("lan1", "192.168.1.0/24"))
	h1.must(err)
	h1.d.Cfg.Solo = func() bool { return true }
	made, err := h1.d.Define(t.Context(), lan("lan2", "192.168.0.0/16"))
	h1.must(err)
	for _, want := range []string{"shares addresses with 192.168.1.0/24 of network lan1", "this agent is solo"} {
		if !slices.ContainsFunc(made.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("warnings %q lack %q", made.Warnings, want)
		}
	}
}

// An address that the network does not have is a typing error, or meant for
// another network.
func TestExcludeOutsideTheSubnets(t *testing.T) {
	_, h1, h2 := pair(t)
	exclude := func(items string) func(*engine.NetworkRequest) {
		return func(r *engine.NetworkRequest) { r.IPAM.Options = map[string]string{"exclude": items} }
	}
	_, err := h1.engine.CreateNetwork(t.Context(), lan("lan1", "192.168.1.0/24", exclude("192.168.1.9,10.0.0.1-10.0.0.9")))
	h1.wantErr(err, "--ipam-opt exclude=10.0.0.1-10.0.0.9 lies in no subnet of the network: those are 192.168.1.0/24")
	h1.create(lan("lan1", "192.168.1.0/24", exclude("192.168.0.0/16")))
	h1.replica("lan1")
	h2.replica("lan1")
	for _, change := range []string{"exclude=10.0.0.1", "exclude+=192.168.1.7,10.0.0.1"} {
		h1.wantErr(h1.d.Set(t.Context(), "lan1", []string{change}), "10.0.0.1 lies in no subnet of the network", "192.168.1.0/24")
	}
	h1.wantErr(h1.d.Set(t.Context(), "lan1", []string{"exclude-=192.168.0.0/16"}), "nothing was added to the network's with exclude+=")
	h1.must(h1.d.Set(t.Context(), "lan1", []string{"exclude+=192.168.1.7,192.168.1.8"}))
	h1.wantErr(h1.d.Set(t.Context(), "lan1", []string{"exclude-=192.168.1.0/29"}), "exclude-=192.168.1.0/29 is not among those that can be taken away: 192.168.1.7, 192.168.1.8")
	h1.must(h1.d.Set(t.Context(), "lan1", []string{"exclude-=192.168.1.8"}))
}

// TestBlocks: every host of an l3 network knows in which blocks its subnets are dealt
// out; other networks are in none, and are not asked for any.
func TestBlocks(t *testing.T) {
	_, h1, h2 := pair(t)
	block := func(value string) func(*engine.NetworkRequest) {
		return func(r *engine.NetworkRequest) { r.IPAM.Options = map[string]string{"block": value} }
	}
	l3 := with("ipvlan_mode", "l3")
	for name, c := range map[string]struct {
		request engine.NetworkRequest
		says    string
	}{
		"macvlan":  {lan("lan1", "192.168.1.0/24", block("26")), "--ipam-opt block=26: only ipvlan networks of mode l3 and l3s"},
		"small":    {lan("lan1", "192.168.1.0/27", l3, block("26")), "--ipam-opt block=26: no subnet of the network is larger"},
		"mistyped": {lan("lan1", "192.168.1.0/24", l3, block("64")), "--ipam-opt block=64: give the length of an IPv4 block"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h1.engine.CreateNetwork(t.Context(), c.request)
			h1.wantErr(err, c.says)
		})
	}
	for _, c := range []struct {
		name string
		with []func(*engine.NetworkRequest)
		want int // 0: none
	}{
		{"usual", []func(*engine.NetworkRequest){l3}, 26},
		{"given", []func(*engine.NetworkRequest){l3, block("28")}, 28},
		{"off", []func(*engine.NetworkRequest){l3, block("off")}, 0},
		{"switched", []func(*engine.NetworkRequest){with("kind", "ipvlan"), with("parent", "eth2")}, 0},
	} {
		const subnet = "192.168.1.0/24"
		h1.create(lan(c.name, subnet, c.with...))
		for _, h := range []*machine{h1, h2} {
			n := h.replica(c.name)
			if got, ok := journal.BlockIn(h.d.Memory, n.ID, netip.MustParsePrefix(subnet)); got != c.want || ok != (c.want != 0) {
				t.Errorf("%s deals %s out in blocks of /%d, %v; want /%d", h.name, c.name, got, ok, c.want)
			}
		}
	}
}

// Node ids are machine ids; people know hosts by their names.
func TestMessagesNameHosts(t *testing.T) {
	c := newCluster(t)
	h1 := c.host("h1")
	h1.create(lan("lan1", "192.168.1.0/24"))
	uuid := h1.replica("lan1").UUID
	_, err := c.mem.Commit(t.Context(), store.Txn{Then: []store.Op{
		store.Put(store.NodeKey("id3"), store.Encode(store.Node{Node: "id3", Host: "machine3"})),
		store.Put(store.RefsKey("id3"), store.Encode(store.Refs{Networks: map[string][]string{uuid: {"web"}}})),
	}})
	h1.must(err)
	c.eventually("h1 knows the host", func() bool { return h1.d.Hosts()["id3"] != "" })
	h1.wantErr(h1.d.Remove(t.Context(), "lan1", false), "web on machine3")
}

// What an agent before this one took is made on every host all the same.
func TestReplicaWithExcludeOutside(t *testing.T) {
	c := newCluster(t)
	h1 := c.host("h1")
	h1.create(lan("lan1", "192.168.1.0/24"))
	h1.replica("lan1")
	def, _ := c.definition("lan1")
	def.UUID, def.Name, def.Created.IPAMOptions = "11111111-2222-3333-4444-555555555555", "lan2", map[string]string{"exclude": "10.0.0.1"}
	_, err := c.mem.Commit(t.Context(), store.Txn{Then: []store.Op{store.Put(store.NetworkKey("lan2"), store.Encode(def))}})
	h1.must(err)
	h1.replica("lan2")
}
