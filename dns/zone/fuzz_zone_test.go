package zone_test

import (
	"testing"

	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

// FuzzZone feeds a zone records with anything in them, as users, engines and
// other versions may write them, beside a house it knows. Nothing may panic,
// every answer can be packed, what has a name is found under it, and without
// the records the house is as before.
func FuzzZone(f *testing.F) {
	f.Add("web", "web", "www", "10.9.0.77/24", "fd09::77/64", "80/tcp", "gvlan.srv.http", "8080")
	f.Add("lan1", "db_main", "_tcp", "10.9.0.20/24", "", "0/udp", "gvlan.srv.", "70000/sctp")
	f.Add("a.b.c", "stack_api.1.abc", "1.abc", "0.0.0.0/0", "::/0", "80", "gvlan.txt", "\x00\xff\"\\")
	f.Add("gvlan.internal", "ns", "..", "fe80::1/10", "10.0.0.1/33", "tcp/80", "com.docker.compose.service", "*")
	f.Add("proj-lan", "", "", "", "::ffff:10.0.0.1/128", "65536/tcp", "com.docker.swarm.service.name", "x.")
	f.Fuzz(func(t *testing.T, network, name, alias, v4, v6, port, key, value string) {
		z := dnstest.House(t)
		before := z.Zone.Names(zone.Everything())
		definition := store.Network{UUID: "uuid-fuzz", Name: network, State: store.NetworkActive}
		e := store.Endpoint{
			Endpoint: "e", Node: name, Network: "uuid-fuzz", Name: network, IPv4: v4, IPv6: v6,
			Container: store.Container{ID: alias + value, Name: name, Hostname: value, Aliases: []string{alias}, Ports: []string{port}, Labels: map[string]string{key: value}},
		}
		z.Zone.ApplyNetworks(dnstest.Put(z, store.NetworkKey("fuzz"), definition))
		z.Start(e)
		askOfAll(t, z.Zone, name, alias, value, network, name+"."+network, name+"."+network+".gvlan.internal", "_"+port+"."+name)
		if len(z.Zone.Names(zone.Networks("uuid-fuzz"))) > 0 {
			foundByName(t, z.Zone)
		}
		z.Zone.Namesakes(zone.Everything())
		z.Stop(e)
		z.Zone.ApplyNetworks(z.Drop(store.NetworkKey("fuzz")))
		if after := z.Zone.Names(zone.Everything()); len(after) != len(before) {
			t.Errorf("%d names are left, %d were there before", len(after), len(before))
		}
	})
}

// askOfAll asks for names, whatever they are, in both scopes.
func askOfAll(t *testing.T, z *zone.Zone, names ...string) {
	t.Helper()
	for _, name := range append(names, z.ReverseZones()...) {
		for _, qtype := range []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypePTR, miekg.TypeSRV, miekg.TypeTXT, miekg.TypeANY} {
			for _, scope := range []zone.Scope{zone.Everything(), zone.Networks("uuid-fuzz", "uuid-lan1")} {
				if _, ok := miekg.IsDomainName(name); !ok {
					continue
				}
				if m := resolve(z, scope, name, qtype); m != nil {
					if _, err := m.Pack(); err != nil {
						t.Errorf("the answer to %q cannot be packed: %v", name, err)
					}
				}
			}
		}
	}
}

// foundByName: what the zone lists can be asked for.
func foundByName(t *testing.T, z *zone.Zone) {
	t.Helper()
	scope := zone.Networks("uuid-fuzz")
	for _, r := range z.Names(scope) {
		for _, addr := range r.Addresses {
			qtype := miekg.TypeA
			if addr.Is6() {
				qtype = miekg.TypeAAAA
			}
			if m := resolve(z, scope, r.Name, qtype); m == nil || len(m.Answer) == 0 {
				t.Errorf("%s is listed with %s, and asked for it answers\n%v", r.Name, addr, m)
			}
		}
	}
}
