package driver

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/driver/endpoint"
	"gvlan/driver/engine"
	"gvlan/driver/journal"
	"gvlan/driver/link"
	"gvlan/driver/link/linktest"
	"gvlan/driver/option"
	"gvlan/driver/plugin"
	"gvlan/ipam"
	"gvlan/ipam/pool"
)

// wantErr wants an error with these words in it.
func (c *cluster) wantErr(err error, words ...string) {
	c.Helper()
	if err == nil {
		c.Errorf("no error, want one that says %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			c.Errorf("error %q, want it to say %q", err, w)
		}
	}
}

// methods are the calls that carry a body.
var methods = []string{
	"NetworkDriver.GwAllocCheck", "NetworkDriver.CreateNetwork", "NetworkDriver.DeleteNetwork",
	"NetworkDriver.AllocateNetwork", "NetworkDriver.FreeNetwork",
	"NetworkDriver.CreateEndpoint", "NetworkDriver.EndpointOperInfo", "NetworkDriver.DeleteEndpoint",
	"NetworkDriver.Join", "NetworkDriver.Leave", "NetworkDriver.DiscoverNew", "NetworkDriver.DiscoverDelete",
	"IpamDriver.RequestPool", "IpamDriver.ReleasePool", "IpamDriver.RequestAddress", "IpamDriver.ReleaseAddress",
}

func TestEmptyBodyIsRefusedWithoutEffect(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	h.replica("lan1")
	h.run("web", "lan1", ip("192.168.1.50"))
	h.settle()
	before := len(c.records(store.AllLeasesSpan()))
	for _, method := range methods {
		got, err := h.send(method, nil)
		if got.status != http.StatusBadRequest || strings.Contains(got.raw, "{") {
			t.Errorf("%s with an empty body: status %d (%v), want 400 and no answer", method, got.status, err)
		}
	}
	if l, _ := c.lease("192.168.1.50"); !l.Bound() || len(c.records(store.AllLeasesSpan())) != before {
		t.Errorf("a request without a body had an effect: %+v", l)
	}
}

func TestWhatIsUnknownIsNoErrorWhereDockerDropsItAnyway(t *testing.T) {
	h := newCluster(t).host("h1")
	unknown := pool.ID{Space: pool.LocalSpace, Segment: "default", Subnet: netip.MustParsePrefix("10.0.0.0/24"), Nonce: strings.Repeat("0", 32)}.String()
	about := map[string]any{"NetworkID": "nosuch", "EndpointID": "nosuch", "PoolID": unknown, "Address": "10.0.0.1"}
	for _, method := range []string{
		"NetworkDriver.DeleteNetwork", "NetworkDriver.DeleteEndpoint", "NetworkDriver.Leave", "NetworkDriver.FreeNetwork",
		"NetworkDriver.EndpointOperInfo", "NetworkDriver.DiscoverNew", "NetworkDriver.DiscoverDelete",
		"IpamDriver.ReleasePool", "IpamDriver.ReleaseAddress",
	} {
		if _, err := h.call(method, about); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	for method, says := range map[string]string{
		"NetworkDriver.CreateEndpoint":  endpoint.ErrUnknownNetwork.Error(),
		"NetworkDriver.Join":            endpoint.ErrUnknownEndpoint.Error(),
		"NetworkDriver.AllocateNetwork": plugin.ErrNotSwarm.Error(),
	} {
		_, err := h.call(method, about)
		h.wantErr(err, says)
	}
}

func TestFixedAnswers(t *testing.T) {
	h := newCluster(t).host("h1")
	for method, want := range map[string]string{
		"Plugin.Activate":                    `{"Implements":["NetworkDriver","IpamDriver"]}`,
		"NetworkDriver.GetCapabilities":      `{"Scope":"local","ConnectivityScope":"global","GwAllocChecker":true}`,
		"IpamDriver.GetCapabilities":         `{"RequiresMACAddress":false,"RequiresRequestReplay":false}`,
		"IpamDriver.GetDefaultAddressSpaces": `{"LocalDefaultAddressSpace":"gvlan-local","GlobalDefaultAddressSpace":"gvlan-global"}`,
	} {
		got, err := h.send(method, nil)
		if err != nil || strings.TrimSpace(got.raw) != want {
			t.Errorf("%s: %s %v, want %s", method, got.raw, err, want)
		}
	}
	for _, method := range []string{"NetworkDriver.ProgramExternalConnectivity", "NetworkDriver.RevokeExternalConnectivity", "NetworkDriver.NoSuch"} {
		if got, _ := h.call(method, map[string]any{}); got.status != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", method, got.status)
		}
	}
}

func TestManagedPluginIsGlobal(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.stop()
	h.swarm = true
	h.start()
	if got, err := h.send("NetworkDriver.GetCapabilities", nil); err != nil || got.Scope != "global" {
		t.Errorf("scope %q %v, want global", got.Scope, err)
	}
}

// TestGatewayRule: which networks have a gateway, asked before and answered at
// Join.
func TestGatewayRule(t *testing.T) {
	internal := func(r *engine.NetworkRequest) { r.Internal = true }
	gateway := func(r *engine.NetworkRequest) { r.IPAM.Pools[0].Gateway = netip.MustParseAddr("192.168.1.254") }
	tests := []struct {
		name    string
		request engine.NetworkRequest
		gateway string
		routes  []string
	}{
		{"macvlan", lan("lan1", "192.168.1.0/24"), "192.168.1.1", nil},
		{"macvlan, given", lan("lan1", "192.168.1.0/24", gateway), "192.168.1.254", nil},
		{"macvlan, gateway=none", lan("lan1", "192.168.1.0/24", with("gateway", "none")), "", nil},
		{"macvlan, given and gateway=none", lan("lan1", "192.168.1.0/24", gateway, with("gateway", "none")), "", nil},
		{"internal", lan("lan1", "192.168.1.0/24", internal), "", nil},
		{"ipvlan l2", lan("lan1", "192.168.1.0/24", with("ipvlan_mode", "l2")), "192.168.1.1", nil},
		{"ipvlan l3", lan("lan1", "192.168.1.0/24", with("ipvlan_mode", "l3")), "", []string{"0.0.0.0/0"}},
		{"ipvlan l3s", lan("lan1", "192.168.1.0/24", with("ipvlan_mode", "l3s")), "", []string{"0.0.0.0/0"}},
		{"local without parent", lan("lan1", "192.168.1.0/24", without("parent"), with("scope", "local")), "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newCluster(t).host("h1")
			h.create(tt.request)
			ct := h.run("web", "lan1")
			var routes []string
			for _, r := range ct.joined.StaticRoutes {
				if r.RouteType != 1 || r.NextHop != "" {
					t.Errorf("route %+v, want one by device", r)
				}
				routes = append(routes, r.Destination)
			}
			if ct.joined.Gateway != tt.gateway {
				t.Errorf("gateway %q, want %q", ct.joined.Gateway, tt.gateway)
			}
			if diff := cmp.Diff(tt.routes, routes); diff != "" {
				t.Errorf("static routes (-want +got):\n%s", diff)
			}
			if !ct.joined.DisableGatewayService {
				t.Error("DisableGatewayService is not set: Docker adds an interface of docker_gwbridge")
			}
		})
	}
}

// TestGwAllocCheck: engines from 28 ask before they take an address for a
// gateway; those before keep it, and nobody is told of it.
func TestGwAllocCheck(t *testing.T) {
	h := newCluster(t).host("h1")
	tests := []struct {
		name     string
		options  map[string]string
		internal bool
		skip     bool
	}{
		{"macvlan", map[string]string{"parent": "eth1"}, false, false},
		{"a parent file", map[string]string{"parent-file": "/etc/p"}, false, false},
		{"internal", map[string]string{"parent": "eth1"}, true, true},
		{"no parent", nil, false, true},
		{"gateway=none", map[string]string{"parent": "eth1", "gateway": "none"}, false, true},
		{"ipvlan l2", map[string]string{"parent": "eth1", "ipvlan_mode": "l2"}, false, false},
		{"ipvlan l3", map[string]string{"parent": "eth1", "ipvlan_mode": "l3"}, false, false},
		{"ipvlan l3s", map[string]string{"parent": "eth1", "ipvlan_mode": "l3s"}, false, false},
		{"ipvlan l3 without parent", map[string]string{"ipvlan_mode": "l3"}, false, true},
		{"ipvlan l3, gateway=none", map[string]string{"parent": "eth1", "ipvlan_mode": "l3", "gateway": "none"}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := h.call("NetworkDriver.GwAllocCheck", map[string]any{"Options": map[string]any{plugin.KeyGeneric: tt.options, plugin.KeyInternal: tt.internal}})
			if err != nil || got.SkipIPv4 != tt.skip || got.SkipIPv6 != tt.skip {
				t.Errorf("skip %v %v (%v), want %v", got.SkipIPv4, got.SkipIPv6, err, tt.skip)
			}
		})
	}
	_, err := h.call("NetworkDriver.GwAllocCheck", map[string]any{"Options": map[string]any{plugin.KeyGeneric: map[string]string{"parrent": "eth1"}}})
	h.wantErr(err, "did you mean parent")
}

func TestMACIsReturnedOnlyWhereDockerMustSetIt(t *testing.T) {
	tests := []struct {
		name, option, given string
		returned            bool
		refused             string
	}{
		{"macvlan", "macvlan_mode=bridge", "", true, ""},
		{"macvlan, given", "macvlan_mode=bridge", "02:00:00:00:00:50", false, ""},
		{"macvlan, multicast", "macvlan_mode=bridge", "03:00:00:00:00:50", false, "not a unicast MAC"},
		{"ipvlan", "ipvlan_mode=l2", "", false, ""},
		{"ipvlan, given", "ipvlan_mode=l2", "02:00:00:00:00:50", false, "leave --mac-address out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newCluster(t).host("h1")
			key, value, _ := strings.Cut(tt.option, "=")
			h.create(lan("lan1", "192.168.1.0/24", with(key, value)))
			ct, err := h.tryRun("web", "lan1", mac(tt.given))
			if tt.refused != "" {
				h.wantErr(err, tt.refused)
				return
			}
			h.must(err)
			want := ""
			if tt.returned {
				want = ipam.MAC(h.session.Cluster(), "default", netip.MustParseAddr(ct.address())).String()
			}
			if ct.mac != want {
				t.Errorf("mac %q, want %q", ct.mac, want)
			}
		})
	}
}

// TestRefusedCreateLeavesNothing: a sentence that names the option, and no
// link, lease or reservation.
func TestRefusedCreateLeavesNothing(t *testing.T) {
	docker := func(r *engine.NetworkRequest) { r.IPAM.Driver = "default" }
	v6 := func(r *engine.NetworkRequest) {
		r.IPv6 = true
		r.IPAM.Pools = append(r.IPAM.Pools, engine.Pool{Subnet: netip.MustParsePrefix("fd00::/64")})
	}
	tests := []struct {
		name    string
		request engine.NetworkRequest
		says    []string
	}{
		{"an unknown option", lan("lan1", "192.168.1.0/24", with("parrent", "eth1")), []string{"-o parrent is unknown", "did you mean parent?"}},
		{"a bad mode", lan("lan1", "192.168.1.0/24", with("macvlan_mode", "bridged")), []string{"macvlan_mode", "bridged", "passthru"}},
		{"no parent", lan("lan1", "192.168.1.0/24", without("parent")), []string{"parent"}},
		{"Docker's IPAM", lan("lan1", "192.168.1.0/24", docker), []string{"add --ipam-driver gvlan"}},
		{"the loopback", lan("lan1", "192.168.1.0/24", v6, with("parent", "lo")), []string{"lo"}},
		{"a VLAN that cannot be", lan("lan1", "192.168.1.0/24", with("parent", "eth1.4095")), []string{"4095"}},
		{"a file that is not there", lan("lan1", "192.168.1.0/24", without("parent"), with("parent-file", "/nosuch")), []string{"/nosuch"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newCluster(t).host("h1")
			_, err := h.engine.CreateNetwork(t.Context(), tt.request)
			h.wantErr(err, tt.says...)
			h.nothingLeft()
			if len(h.d.Memory.Networks()) > 0 {
				t.Errorf("the journal has %+v", h.d.Memory.Networks())
			}
		})
	}
}

func TestKernelWithoutTheModuleRefusesNamingIt(t *testing.T) {
	h := newCluster(t).host("h1")
	h.stop()
	h.links = linktest.New("gvlan", link.Ipvlan)
	h.links.Add(link.Interface{Name: "eth1", Up: true})
	h.start()
	_, err := h.engine.CreateNetwork(t.Context(), lan("lan1", "192.168.1.0/24"))
	h.wantErr(err, "macvlan", "node h1")
	_, err = h.engine.CreateNetwork(t.Context(), lan("lan1", "192.168.1.0/24", without("parent"), with("scope", "local"), with("kind", "ipvlan")))
	h.wantErr(err, "dummy", "has no parent")
	h.nothingLeft()
}

// TestSecondHolderOfAnAddressIsRefused: the release that follows a refusal is
// byte-identical to the first holder's own, and must free nothing.
func TestSecondHolderOfAnAddressIsRefused(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	h.replica("lan1")
	web := h.run("web", "lan1", ip("192.168.1.50"))
	_, err := h.tryRun("thief", "lan1", ip("192.168.1.50"))
	h.wantErr(err, "192.168.1.50")
	web.releaseAll() // as Docker's rollback of an endpoint it could not create
	if l, ok := c.lease("192.168.1.50"); !ok || l.Endpoint != web.endpoint {
		t.Errorf("the lease of the running container is %+v", l)
	}
	_, err = h.tryRun("thief2", "lan1", ip("192.168.1.50"))
	h.wantErr(err, "192.168.1.50")
	web.stop()
	h.run("next", "lan1", ip("192.168.1.50"))
}

func TestLifeOfAContainerLeavesNothing(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24", func(r *engine.NetworkRequest) {
		r.IPv6 = true
		r.IPAM.Pools = append(r.IPAM.Pools, engine.Pool{Subnet: netip.MustParsePrefix("fd98::/64")})
		r.IPAM.Pools[0].Aux = map[string]netip.Addr{"nas": netip.MustParseAddr("192.168.1.5")}
	}))
	h.replica("lan1")
	web := h.run("web", "lan1")
	e, _ := h.d.Memory.Endpoint(web.endpoint)
	if e.Parent != "eth1" || e.Link != link.EndpointName(web.endpoint) || len(e.Addresses()) != 2 {
		t.Errorf("endpoint %+v", e)
	}
	if info, _ := h.call("NetworkDriver.EndpointOperInfo", web.about()); info.Value["gvlan.parent"] != "eth1" {
		t.Errorf("operational info %v", info.Value)
	}
	first := web.address()
	web.stop()
	if _, held := c.lease(first); held {
		t.Errorf("%s is still leased after the stop returned", first)
	}
	h.must(web.start())
	if web.address() != first {
		t.Errorf("a restart changed the address from %s to %s", first, web.address())
	}
	web.stop()
	web.remove()
	h.rm("lan1")
	c.pass(quiet)
	h.lacks("lan1")
	c.nothingLeft()
}

func TestReserved(t *testing.T) {
	h := newCluster(t).host("h1")
	h.create(lan("lan1", "192.168.1.0/24", func(r *engine.NetworkRequest) {
		r.IPAM.Pools[0].Aux = map[string]netip.Addr{"nas": netip.MustParseAddr("192.168.1.5")}
	}))
	for _, address := range []string{"192.168.1.1", "192.168.1.5"} {
		_, err := h.tryRun("thief"+address, "lan1", ip(address))
		h.wantErr(err, address)
	}
}

func TestDrainedNodeRefuses(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	h.replica("lan1")
	h.drained.Store(true)
	_, err := h.tryRun("web", "lan1", ip("192.168.1.50"))
	h.wantErr(err, "drained", "h1")
	if _, held := c.lease("192.168.1.50"); held {
		t.Error("the refused container's address is still leased")
	}
	h.drained.Store(false)
	h.run("web2", "lan1", ip("192.168.1.50"))
}

// TestNamesWithAnAddressRequest: engines from 29 tell the endpoint's name.
func TestNamesWithAnAddressRequest(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.create(lan("lan1", "192.168.1.0/24"))
	n := h.replica("lan1")
	pool := h.engine.pools(n.ID)[0]
	got, err := h.call("IpamDriver.RequestAddress", map[string]any{"PoolID": pool.id, "Address": "", "Options": map[string]string{plugin.KeyEndpointName: "web"}})
	h.must(err)
	_, err = h.call("NetworkDriver.CreateEndpoint", map[string]any{"NetworkID": n.ID, "EndpointID": "e1", "Interface": map[string]string{"Address": got.Address}})
	h.must(err)
	items := c.records(store.EndpointsSpan())
	if len(items) != 1 {
		t.Fatalf("%d endpoint records, want 1", len(items))
	}
	if rec, err := store.Decode[store.Endpoint](items[0]); err != nil || rec.Container.Name != "web" {
		t.Errorf("record %+v %v, want container web", rec, err)
	}
}

// TestDefaultScope: the engine's labels decide where -o scope does not.
func TestDefaultScope(t *testing.T) {
	c := newCluster(t)
	h := c.host("h1")
	h.engine.SetInfo(func(i *engine.Info) { i.Labels = map[string]string{"macvlan": "local"} })
	c.eventually("the labels are read", func() bool { return h.d.Scopes.Of(link.Macvlan) == option.ScopeLocal })
	h.engine.Fail("Info", slices.Repeat([]error{engine.ErrUnavailable}, 10_000)...)
	h.restart() // they are kept where no handler may ask
	id := h.create(lan("lan1", "192.168.1.0/24", without("parent")))
	if n, _ := h.d.Memory.Network(id); n.Stage != journal.StageLocal || !slices.Contains(h.ours(), link.DummyName(id)) {
		t.Errorf("network %+v with links %v, want a local one on a dummy", n, h.ours())
	}
	h.create(lan("lan2", "192.168.2.0/24", with("scope", "global")))
	h.replica("lan2")
}
