package dns

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"testing"

	"gvlan/cluster/store"
)

// feed stands for the store's watch: it hands records to a zone the way
// store.Follow does, and counts revisions.
type feed struct {
	t    testing.TB
	zone *Zone
	rev  store.Revision
}

func newFeed(t testing.TB, c ZoneConfig) *feed {
	t.Helper()
	if c.Node == "" {
		c.Node = "h1"
	}
	zone, err := NewZone(c)
	if err != nil {
		t.Fatal(err)
	}
	zone.ApplyNetworks(store.Change{Reset: true, Revision: 1})
	zone.ApplyEndpoints(store.Change{Reset: true, Revision: 1})
	return &feed{t: t, zone: zone, rev: 1}
}

func item[T any](f *feed, key string, record T) store.Item {
	f.rev++
	return store.Item{Key: key, Value: store.Encode(record), Created: f.rev, Modified: f.rev}
}

func put[T any](f *feed, key string, record T) store.Change {
	it := item(f, key, record)
	return store.Change{Events: []store.Event{{Item: it, At: f.rev}}, Revision: f.rev}
}

func (f *feed) drop(key string) store.Change {
	f.rev++
	return store.Change{Events: []store.Event{{Item: store.Item{Key: key}, Deleted: true, At: f.rev}}, Revision: f.rev}
}

// definition returns the record of a network on these subnets. Its uuid is
// "uuid-" and its name.
func definition(name string, subnets ...string) store.Network {
	n := store.Network{UUID: "uuid-" + name, Name: name, State: store.NetworkActive, Scope: store.ScopeGlobal}
	n.Created.Segment = "default"
	for _, s := range subnets {
		n.Created.Pools = append(n.Created.Pools, store.Pool{Subnet: netip.MustParsePrefix(s)})
	}
	return n
}

func (f *feed) define(name string, subnets ...string) {
	f.zone.ApplyNetworks(put(f, store.NetworkKey(name), definition(name, subnets...)))
}

func (f *feed) undefine(name string) { f.zone.ApplyNetworks(f.drop(store.NetworkKey(name))) }

// endpoint returns the record of a container on a network. Its endpoint id
// is made of node, network and name.
func endpoint(node, network, name, addr string, more ...func(*store.Endpoint)) store.Endpoint {
	e := store.Endpoint{
		Endpoint: node + "-" + network + "-" + name, Node: node, Network: "uuid-" + network, Name: network, Segment: "default",
		Container: store.Container{Name: name, ID: shortID(node+network+name) + "0123456789abcdef"},
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

// shortID makes twelve characters that look like a container's.
func shortID(of string) string {
	return "c" + base64.RawStdEncoding.EncodeToString([]byte(of + "............"))[len(of):len(of)+11]
}

func alias(names ...string) func(*store.Endpoint) {
	return func(e *store.Endpoint) { e.Container.Aliases = append(e.Container.Aliases, names...) }
}

func v6(addr string) func(*store.Endpoint) {
	return func(e *store.Endpoint) { e.IPv6 = addr }
}

func label(key, value string) func(*store.Endpoint) {
	return func(e *store.Endpoint) {
		if e.Container.Labels == nil {
			e.Container.Labels = make(map[string]string)
		}
		e.Container.Labels[key] = value
	}
}

func exposed(ports ...string) func(*store.Endpoint) {
	return func(e *store.Endpoint) { e.Container.Ports = ports }
}

func (f *feed) start(e store.Endpoint) {
	f.zone.ApplyEndpoints(put(f, store.EndpointKey(e.Node, e.Endpoint), e))
}

func (f *feed) stop(e store.Endpoint) {
	f.zone.ApplyEndpoints(f.drop(store.EndpointKey(e.Node, e.Endpoint)))
}

// house is a zone with two networks and a few containers on two hosts.
func house(t testing.TB) *feed { return houseOf(t, ZoneConfig{Node: "h1"}) }

// houseOf is house with a zone made so.
func houseOf(t testing.TB, c ZoneConfig) *feed {
	f := newFeed(t, c)
	f.define("lan1", "10.9.0.0/24", "fd09::/64")
	f.define("proj_lan", "10.8.0.0/20")
	f.start(endpoint("h1", "lan1", "web", "10.9.0.10/24", alias("www"), v6("fd09::10/64"), exposed("80/tcp"),
		label("gvlan.srv.http", "8080"), label("gvlan.txt", `path=/ "a\b"`)))
	f.start(endpoint("h2", "lan1", "db_main", "10.9.0.20/24", label("com.docker.compose.service", "shop"), alias("db")))
	f.start(endpoint("h2", "lan1", "stack_api.1.abc", "10.9.0.30/24",
		label("com.docker.swarm.service.name", "stack_api"), label("com.docker.swarm.task.name", "stack_api.1.abc")))
	f.start(endpoint("h2", "proj_lan", "web", "10.8.3.7/20"))
	return f
}

// nthAddress is one of many addresses of 10.9.0.0/16.
func nthAddress(i int) string { return fmt.Sprintf("10.9.%d.%d", i/200, 1+i%200) }
