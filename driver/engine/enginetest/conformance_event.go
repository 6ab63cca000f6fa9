package enginetest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

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
