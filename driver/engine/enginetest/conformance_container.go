package enginetest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gvlan/driver/engine"
)

// stream is a Watch that runs for a test.
type stream struct{ events chan engine.Event }

// watch returns a stream that is connected.
func (s Subject) watch(t *testing.T) stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := stream{events: make(chan engine.Event, 1000)}
	done := make(chan error, 1)
	go func() { done <- s.Engine.Watch(ctx, func(event engine.Event) { w.events <- event }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch: got error %v, want that of its context", err)
		}
	})
	w.wait(t, engine.KindStream, engine.ActionConnected)
	return w
}

// wait returns the next event of this kind and action, and drops those before it.
func (w stream) wait(t *testing.T, kind engine.Kind, action engine.Action) engine.Event {
	t.Helper()
	for {
		select {
		case event := <-w.events:
			if event.Kind == kind && event.Action == action {
				return event
			}
		case <-t.Context().Done():
			t.Fatalf("no event %s %s: %v", kind, action, t.Context().Err())
		}
	}
}

// until returns the actions told of these ids up to the last event, each once.
func (w stream) until(t *testing.T, ids map[string]bool, last func(engine.Event) bool) []string {
	t.Helper()
	var told []string
	for {
		select {
		case event := <-w.events:
			text := string(event.Kind) + " " + string(event.Action)
			if ids[event.ID] && (len(told) == 0 || told[len(told)-1] != text) {
				told = append(told, text)
			}
			if last(event) {
				return told
			}
		case <-t.Context().Done():
			t.Fatalf("events stopped after %q", told)
		}
	}
}

func eventsOfLife(t *testing.T, s Subject) {
	w := s.watch(t)
	network := s.newNetwork(t, lan(s, "told"))
	id := s.newContainer(t, ContainerSpec{Name: "told1", Network: network, Labels: map[string]string{"a": "b"}})
	s.start(t, id)
	s.Rename(t, id, "told2")
	s.Stop(t, id)
	s.Remove(t, id)
	if err := s.Engine.RemoveNetwork(t.Context(), network); err != nil {
		t.Fatal(err)
	}
	var connect, rename, destroy engine.Event
	told := w.until(t, map[string]bool{network: true, id: true}, func(event engine.Event) bool {
		switch {
		case event.Action == engine.ActionConnect:
			connect = event
		case event.Action == engine.ActionRename:
			rename = event
		case event.Action == engine.ActionDestroy && event.ID == network:
			destroy = event
		}
		return destroy.ID != ""
	})
	want := []string{
		"network create", "container create", "network connect", "container start", "container rename",
		"container kill", "container die", "container stop", "network disconnect",
		"container destroy", "network destroy",
	}
	if len(told) == len(want) {
		slices.Sort(told[6:9]) // engines do not agree, nor with themselves, on the order of an end
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := connect.Attributes; got["container"] != id || got["name"] != "told" || got["type"] != s.Driver {
		t.Errorf("attributes of connect: got %v", got)
	}
	if got := rename.Attributes; got["name"] != "told2" || got["oldName"] != "/told1" || got["a"] != "b" {
		t.Errorf("attributes of rename: got %v", got)
	}
	if destroy.Time.Before(connect.Time) || destroy.Scope != engine.ScopeLocal || destroy.Attributes["name"] != "told" {
		t.Errorf("destroy: got %+v", destroy)
	}
}

func eventsOfPrune(t *testing.T, s Subject) {
	network := s.newNetwork(t, lan(s, "pruned"))
	w := s.watch(t)
	s.Prune(t)
	var prune engine.Event
	told := w.until(t, map[string]bool{network: true, "": true}, func(event engine.Event) bool {
		prune = event
		return event.Action == engine.ActionPrune
	})
	if diff := cmp.Diff([]string{"network destroy", "network prune"}, told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if prune.Kind != engine.KindNetwork || prune.ID != "" {
		t.Errorf("prune: got %+v, want one of networks without an id", prune)
	}
}

func restart(t *testing.T, s Subject) {
	w := s.watch(t)
	s.Down(t)
	lost := w.wait(t, engine.KindStream, engine.ActionLost)
	if lost.Err == nil {
		t.Error("lost stream tells no error")
	}
	wantError(t, "ready while down", s.Engine.Ready(t.Context()), engine.ErrUnavailable)
	_, err := s.Engine.Networks(t.Context(), "")
	wantError(t, "list while down", err, engine.ErrUnavailable)
	s.Up(t)
	w.wait(t, engine.KindStream, engine.ActionConnected)
	if err := s.Engine.Ready(t.Context()); err != nil {
		t.Errorf("ready after restart: %v", err)
	}
	network := s.newNetwork(t, lan(s, "restarted"))
	if got := w.wait(t, engine.KindNetwork, engine.ActionCreate); got.ID != network {
		t.Errorf("event after restart: got %+v, want of network %s", got, network)
	}
}

var fifty = netip.MustParseAddr("10.231.0.50")

func attachmentLife(t *testing.T, s Subject) {
	network := s.newNetwork(t, lan(s, "life"))
	settings := engine.EndpointSettings{IPv4: fifty, Aliases: []string{"db"}}
	id := s.newContainer(t, ContainerSpec{Name: "life1", Hostname: "box", Network: network, Settings: settings})

	listed, _ := s.attachment(t, id)
	if listed.Network != "life" || listed.NetworkID != "" || listed.EndpointID != "" || listed.Settings.IPv4 != fifty {
		t.Errorf("attachment before the first start: got %+v, want name and address, no ids", listed)
	}

	s.start(t, id)
	s.start(t, id) // a second start changes nothing
	listed, inspected := s.attachment(t, id)
	if diff := cmp.Diff(settings, inspected.Settings, append(prefixes, cmpopts.EquateEmpty())...); diff != "" {
		t.Errorf("settings of the running container (-want +got):\n%s", diff)
	}
	if want := []string{"life1", "db", id[:12], "box"}; !slices.Equal(inspected.DNSNames, want) {
		t.Errorf("names: got %q, want %q", inspected.DNSNames, want)
	}
	n, err := s.Engine.Network(t.Context(), network)
	if err != nil {
		t.Fatal(err)
	}
	want := []engine.Endpoint{{
		ID: listed.EndpointID, ContainerID: id, Name: "life1", MAC: listed.MAC, IPv4: netip.PrefixFrom(fifty, 24),
	}}
	if diff := cmp.Diff(want, n.Endpoints, prefixes...); diff != "" {
		t.Errorf("endpoints of the network, against the container's attachment (-want +got):\n%s", diff)
	}
	if listed.NetworkID != network || listed.IPv4 != netip.PrefixFrom(fifty, 24) || len(listed.MAC) != 6 {
		t.Errorf("attachment of the running container: got %+v", listed)
	}
	wantError(t, "remove network in use", s.Engine.RemoveNetwork(t.Context(), network), engine.ErrInUse)

	s.Stop(t, id)
	listed, inspected = s.attachment(t, id)
	if listed.NetworkID != network || listed.EndpointID != "" || listed.IPv4.IsValid() || listed.Settings.IPv4 != fifty {
		t.Errorf("attachment of the stopped container: got %+v, want the network's id and the address asked for alone", listed)
	}
	if want := []string{"db"}; !slices.Equal(inspected.Settings.Aliases, want) {
		t.Errorf("aliases of the stopped container: got %q, want %q", inspected.Settings.Aliases, want)
	}
}

// attachAgain is what gvlan does when a network that stopped containers refer to
// was removed and comes back.
func attachAgain(t *testing.T, s Subject) {
	old := s.newNetwork(t, lan(s, "again"))
	id := s.newContainer(t, ContainerSpec{
		Name: "again1", Network: "again",
		Settings: engine.EndpointSettings{IPv4: fifty, Aliases: []string{"db"}},
	})
	s.start(t, id)
	s.Stop(t, id)
	if err := s.Engine.RemoveNetwork(t.Context(), old); err != nil {
		t.Fatalf("remove network of a stopped container: %v", err)
	}
	made := s.newNetwork(t, lan(s, "again"))
	t.Cleanup(func() { s.Remove(t, id) }) // before the network it holds

	wantError(t, "start on the old network", s.Engine.StartContainer(t.Context(), id), engine.ErrNotFound)
	if detail, err := s.Engine.Container(t.Context(), id); err != nil || detail.Error == "" {
		t.Errorf("failed container: got error text %q, %v; want why it failed", detail.Error, err)
	}
	_, before := s.attachment(t, id)
	if err := s.Engine.Connect(t.Context(), made, id, before.Settings); err != nil {
		t.Fatal(err)
	}
	s.start(t, id)
	_, after := s.attachment(t, id)
	if after.NetworkID != made || after.IPv4.Addr() != fifty {
		t.Errorf("attachment: got %+v, want network %s and address %s", after, made, fifty)
	}
	if diff := cmp.Diff(before.Settings, after.Settings, append(prefixes, cmpopts.EquateEmpty())...); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func missingAttachment(t *testing.T, s Subject) {
	network := s.newNetwork(t, lan(s, "missing"))
	other := lan(s, "missing2")
	other.IPAM.Pools = []engine.Pool{{Subnet: netip.MustParsePrefix("10.232.0.0/24")}}
	elsewhere := s.newNetwork(t, other)
	id := s.newContainer(t, ContainerSpec{Name: "missing1", Network: network})
	s.start(t, id)

	for _, c := range []struct{ what, network, container string }{
		{"a network it is not on", elsewhere, id},
		{"an unknown network", "no-such-network", id},
		{"an unknown container", network, "no-such-container"},
	} {
		if err := s.Engine.Disconnect(t.Context(), c.network, c.container, false); err != nil {
			t.Errorf("disconnect from %s: got error %v, want none", c.what, err)
		}
	}
	err := s.Engine.Connect(t.Context(), "no-such-network", id, engine.EndpointSettings{})
	wantError(t, "connect to an unknown network", err, engine.ErrNotFound)
	err = s.Engine.Connect(t.Context(), network, "no-such-container", engine.EndpointSettings{})
	wantError(t, "connect an unknown container", err, engine.ErrNotFound)
	if err := s.Engine.Connect(t.Context(), network, id, engine.EndpointSettings{}); err == nil {
		t.Error("connect a running container a second time: got no error")
	}
	if _, a := s.attachment(t, id); a.NetworkID != network {
		t.Errorf("attachment after all that: got %+v, want still network %s", a, network)
	}
}

func connectRunning(t *testing.T, s Subject) {
	first := s.newNetwork(t, lan(s, "first"))
	request := lan(s, "second")
	request.IPAM.Pools = []engine.Pool{{Subnet: netip.MustParsePrefix("10.232.0.0/24")}}
	second := s.newNetwork(t, request)
	id := s.newContainer(t, ContainerSpec{Name: "two1", Network: first})
	s.start(t, id)

	addr := netip.MustParseAddr("10.232.0.77")
	settings := engine.EndpointSettings{IPv4: addr, Aliases: []string{"cache"}}
	if err := s.Engine.Connect(t.Context(), second, id, settings); err != nil {
		t.Fatal(err)
	}
	n, err := s.Engine.Network(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Endpoints) != 1 || n.Endpoints[0].ContainerID != id || n.Endpoints[0].IPv4.Addr() != addr {
		t.Errorf("endpoints after connect: got %+v, want %s with %s", n.Endpoints, id, addr)
	}
	if err := s.Engine.Disconnect(t.Context(), second, id, false); err != nil {
		t.Fatal(err)
	}
	if n, err = s.Engine.Network(t.Context(), second); err != nil || len(n.Endpoints) != 0 {
		t.Errorf("endpoints after disconnect: got %+v, %v; want none", n.Endpoints, err)
	}
	if _, a := s.attachment(t, id); a.NetworkID != first {
		t.Errorf("attachment left: got %+v, want network %s", a, first)
	}
}
