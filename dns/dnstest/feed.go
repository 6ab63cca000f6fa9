package dnstest

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/dns/zone"
)

// Feed stands for the store's watch: it hands records to a zone the way
// store.Follow does, and counts revisions.
type Feed struct {
	t    testing.TB
	Zone *zone.Zone
	Rev  store.Revision
}

// NewFeed returns a feed of a zone that knows that there is nothing.
func NewFeed(t testing.TB, c zone.Config) *Feed {
	t.Helper()
	if c.Node == "" {
		c.Node = "h1"
	}
	z, err := zone.New(c)
	if err != nil {
		t.Fatal(err)
	}
	z.ApplyNetworks(store.Change{Reset: true, Revision: 1})
	z.ApplyEndpoints(store.Change{Reset: true, Revision: 1})
	return &Feed{t: t, Zone: z, Rev: 1}
}

// Item is a record as the store lists it.
func Item[T any](f *Feed, key string, record T) store.Item {
	f.Rev++
	return store.Item{Key: key, Value: store.Encode(record), Created: f.Rev, Modified: f.Rev}
}

// Put is the change by which a record comes.
func Put[T any](f *Feed, key string, record T) store.Change {
	it := Item(f, key, record)
	return store.Change{Events: []store.Event{{Item: it, At: f.Rev}}, Revision: f.Rev}
}

// Drop is the change by which a record goes.
func (f *Feed) Drop(key string) store.Change {
	f.Rev++
	return store.Change{Events: []store.Event{{Item: store.Item{Key: key}, Deleted: true, At: f.Rev}}, Revision: f.Rev}
}

// Definition returns the record of a network on these subnets. Its uuid is
// "uuid-" and its name.
func Definition(name string, subnets ...string) store.Network {
	n := store.Network{UUID: "uuid-" + name, Name: name, State: store.NetworkActive, Scope: store.ScopeGlobal}
	n.Created.Segment = "default"
	for _, s := range subnets {
		n.Created.Pools = append(n.Created.Pools, store.Pool{Subnet: netip.MustParsePrefix(s)})
	}
	return n
}

// Define adds a network.
func (f *Feed) Define(name string, subnets ...string) {
	f.Zone.ApplyNetworks(Put(f, store.NetworkKey(name), Definition(name, subnets...)))
}

// Undefine removes one.
func (f *Feed) Undefine(name string) { f.Zone.ApplyNetworks(f.Drop(store.NetworkKey(name))) }

// Endpoint returns the record of a container on a network. Its endpoint id
// is made of node, network and name.
func Endpoint(node, network, name, addr string, more ...func(*store.Endpoint)) store.Endpoint {
	e := store.Endpoint{
		Endpoint: node + "-" + network + "-" + name, Node: node, Network: "uuid-" + network, Name: network, Segment: "default",
		Container: store.Container{Name: name, ID: ShortID(node+network+name) + "0123456789abcdef"},
	}
	if p := netip.MustParsePrefix(addr); p.Addr().Is4() {
		e.IPv4 = addr
	} else {
		e.IPv6 = addr
	}
	for _, change := range more {
		change(&e)
	}
	return e
}

// ShortID makes twelve characters that look like a container's.
func ShortID(of string) string {
	return "c" + base64.RawStdEncoding.EncodeToString([]byte(of + "............"))[len(of):len(of)+11]
}

// Alias gives an endpoint more names.
func Alias(names ...string) func(*store.Endpoint) {
	return func(e *store.Endpoint) { e.Container.Aliases = append(e.Container.Aliases, names...) }
}

// V6 gives an endpoint an IPv6 address.
func V6(addr string) func(*store.Endpoint) {
	return func(e *store.Endpoint) { e.IPv6 = addr }
}

// Label gives an endpoint's container a label.
func Label(key, value string) func(*store.Endpoint) {
	return func(e *store.Endpoint) {
		if e.Container.Labels == nil {
			e.Container.Labels = make(map[string]string)
		}
		e.Container.Labels[key] = value
	}
}

// Exposed gives an endpoint's container ports.
func Exposed(ports ...string) func(*store.Endpoint) {
	return func(e *store.Endpoint) { e.Container.Ports = ports }
}

// Start adds or changes an endpoint.
func (f *Feed) Start(e store.Endpoint) {
	f.Zone.ApplyEndpoints(Put(f, store.EndpointKey(e.Node, e.Endpoint), e))
}

// Stop removes one.
func (f *Feed) Stop(e store.Endpoint) {
	f.Zone.ApplyEndpoints(f.Drop(store.EndpointKey(e.Node, e.Endpoint)))
}

// House is a zone with two networks and a few containers on two hosts.
func House(t testing.TB) *Feed { return HouseOf(t, zone.Config{Node: "h1"}) }

// HouseOf is house with a zone made so.
func HouseOf(t testing.TB, c zone.Config) *Feed {
	f := NewFeed(t, c)
	f.Define("lan1", "10.9.0.0/24", "fd09::/64")
	f.Define("proj_lan", "10.8.0.0/20")
	f.Start(Endpoint("h1", "lan1", "web", "10.9.0.10/24", Alias("www"), V6("fd09::10/64"), Exposed("80/tcp"),
		Label("gvlan.srv.http", "8080"), Label("gvlan.txt", `path=/ "a\b"`)))
	f.Start(Endpoint("h2", "lan1", "db_main", "10.9.0.20/24", Label("com.docker.compose.service", "shop"), Alias("db")))
	f.Start(Endpoint("h2", "lan1", "stack_api.1.abc", "10.9.0.30/24",
		Label("com.docker.swarm.service.name", "stack_api"), Label("com.docker.swarm.task.name", "stack_api.1.abc")))
	f.Start(Endpoint("h2", "proj_lan", "web", "10.8.3.7/20"))
	return f
}

// NthAddress is one of many addresses of 10.9.0.0/16.
func NthAddress(i int) string { return fmt.Sprintf("10.9.%d.%d", i/200, 1+i%200) }

// Hostile are texts that somebody may call a container, an alias, a network or a
// label, to say something in what is made of names.
func Hostile() []string {
	return []string{
		"web\nDNS=192.0.2.66", "web\r\n; evil", "lan1 {\n forward . 192.0.2.66\n}", "x\"\nstub-zone:\n name: \".\"", "/192.0.2.66#53\nserver=/",
		"web 60 IN A 192.0.2.66", "$INCLUDE /etc/shadow", "$(reboot)", "`reboot`", "a;b", "../../etc/passwd", "*", "@", "\\032", "\\",
		"\x1b[2J", "\u009b2J", "\u202egnp", "\x00", "\xff\xfe", strings.Repeat("n", 64), strings.Repeat("n.", 200), ".", "..", "web.", ".web",
		"10.0.9.10.in-addr.arpa", "gvlan.internal", "web.lan1.gvlan.internal", "_http._tcp.web", "} delete table ip nat {",
	}
}
