package zone_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"

	"gvlan/cluster/store"
	"gvlan/dns/dnstest"
	"gvlan/dns/zone"
)

// fixedAt has an endpoint want addresses besides, and have some of them.
func fixedAt(wants []string, has ...string) func(*store.Endpoint) {
	return func(e *store.Endpoint) { e.Wants, e.Fixed = wants, has }
}

// TestFixedAddresses: a service is at its fixed address, its tasks are at their own.
func TestFixedAddresses(t *testing.T) {
	const service, task = "com.docker.swarm.service.name", "com.docker.swarm.task.name"
	wants := []string{"10.9.0.50/24"}
	both := []string{"10.9.0.50/24", "fd09::50/64"}
	labelled := func(e *store.Endpoint) { dnstest.Label(service, "web")(e); dnstest.Label(task, e.Container.Name)(e) }
	unhealthy := func(e *store.Endpoint) { dnstest.Label(task, e.Container.Name)(e) }
	tests := []struct {
		name  string
		tasks []store.Endpoint
		query string
		qtype uint16
		want  []string
	}{
		{"the task that has it", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", labelled, fixedAt(wants, "10.9.0.50/24"))}, "web", miekg.TypeA, []string{"10.9.0.50"}},
		{"tasks.", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", labelled, fixedAt(wants, "10.9.0.50/24"))}, "tasks.web", miekg.TypeA, []string{"10.9.0.7"}},
		{"one that waits is no answer", []store.Endpoint{
			dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", labelled, fixedAt(wants, "10.9.0.50/24")),
			dnstest.Endpoint("h2", "lan1", "web.2", "10.9.0.8/24", labelled, fixedAt(wants)),
		}, "web", miekg.TypeA, []string{"10.9.0.50"}},
		{"both are tasks", []store.Endpoint{
			dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", labelled, fixedAt(wants, "10.9.0.50/24")),
			dnstest.Endpoint("h2", "lan1", "web.2", "10.9.0.8/24", labelled, fixedAt(wants)),
		}, "tasks.web", miekg.TypeA, []string{"10.9.0.7", "10.9.0.8"}},
		{"not healthy yet", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", unhealthy, fixedAt(wants, "10.9.0.50/24"))}, "web.lan1.gvlan.internal", miekg.TypeA, nil},
		{"a family that none is wanted of", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", dnstest.V6("fd09::7/64"), labelled, fixedAt(wants, "10.9.0.50/24"))}, "web", miekg.TypeAAAA, []string{"fd09::7"}},
		{"both families", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", dnstest.V6("fd09::7/64"), labelled, fixedAt(both, both...))}, "web", miekg.TypeAAAA, []string{"fd09::50"}},
		{"one of both", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", dnstest.V6("fd09::7/64"), labelled, fixedAt(both, "10.9.0.50/24"))}, "web", miekg.TypeAAAA, nil},
		{"a container that is no task", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "db", "10.9.0.7/24", dnstest.Alias("sql"), fixedAt(wants, "10.9.0.50/24"))}, "sql", miekg.TypeA, []string{"10.9.0.50", "10.9.0.7"}},
		{"the way back", []store.Endpoint{dnstest.Endpoint("h1", "lan1", "web.1", "10.9.0.7/24", labelled, fixedAt(wants, "10.9.0.50/24"))}, "50.0.9.10.in-addr.arpa", miekg.TypePTR, []string{"web.lan1.gvlan.internal."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := dnstest.NewFeed(t, zone.Config{})
			f.Define("lan1", "10.9.0.0/24", "fd09::/64")
			for _, e := range tt.tasks {
				f.Start(e)
			}
			var got []string
			if m := resolve(f.Zone, zone.Networks("uuid-lan1"), tt.query, tt.qtype); m != nil {
				got = dnstest.Addresses(m)
				for _, rr := range m.Answer {
					if ptr, is := rr.(*miekg.PTR); is {
						got = append(got, ptr.Ptr)
					}
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.query, diff)
			}
			if all := f.Zone.Namesakes(zone.Everything()); len(all) > 0 {
				t.Errorf("namesakes %+v, want none", all)
			}
			for _, e := range tt.tasks {
				f.Stop(e)
			}
			if left := f.Zone.Names(zone.Everything()); len(left) > 0 {
				t.Errorf("names %+v are left", left)
			}
		})
	}
}
