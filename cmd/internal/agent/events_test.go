package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/cluster/store/storetest"
	"gvlan/cmd/internal/api"
)

// TestEventsOfHosts: what happens on one host is told on another, to who asks and
// to who follows; without the store a host tells its own.
func TestEventsOfHosts(t *testing.T) {
	mem, began := storetest.NewMem(), time.Now()
	h1, h2 := startHost(t, mem, "h1"), startHost(t, mem, "h2")
	told := func(wanted api.EventsWanted) (lines []string, alone string) {
		t.Helper()
		var all api.Events
		if err := h1.status.Get(t.Context(), wanted.At(api.EventsRoute), &all); err != nil {
			t.Fatal(err)
		}
		for _, e := range all.Events {
			lines = append(lines, strings.Join([]string{e.Kind, e.Host, e.Text}, " "))
		}
		slices.Sort(lines)
		return lines, all.Alone
	}
	came := []string{"host-came host-h1 its agent began, gvlan v1", "host-came host-h2 its agent began, gvlan v1"}
	eventually(t, "both hosts came", func() bool {
		lines, _ := told(api.EventsWanted{})
		return slices.Equal(lines, came)
	})
	if lines, _ := told(api.EventsWanted{Node: "host-h2"}); !slices.Equal(lines, came[1:]) {
		t.Errorf("of h2 it is told %q", lines)
	}

	ctx, end := context.WithCancel(t.Context())
	followed := make(chan string, 10)
	var follow sync.WaitGroup
	follow.Go(func() {
		err := api.Follow(ctx, h1.status, api.EventsWanted{Kinds: []string{"host-went"}, Since: began}.At(api.EventsFollowRoute), func(told api.EventTold) error {
			if told.Event != nil {
				followed <- told.Event.Host + " " + told.Event.Text
			}
			return nil
		})
		if err != nil {
			t.Errorf("followed: %v", err)
		}
	})
	h2.stop(t, ErrSucceeded)
	if got := <-followed; got != "host-h2 another agent takes over" {
		t.Errorf("followed: %s", got)
	}
	end()
	follow.Wait()
	if lines, alone := told(api.EventsWanted{Kinds: []string{"host-went"}}); alone != "" || !slices.Equal(lines, []string{"host-went host-h2 another agent takes over"}) {
		t.Errorf("who went: %q, %s", lines, alone)
	}

	h1.wire.Down()
	if lines, alone := told(api.EventsWanted{}); alone == "" || !slices.Equal(lines, came[:1]) {
		t.Errorf("without the store: %q, %q", lines, alone)
	}
	h1.wire.Up()
	if err := h1.status.Get(t.Context(), api.EventsWanted{Node: "h9"}.At(api.EventsRoute), &api.Events{}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a node that is none: %v", err)
	}
	h1.stop(t, context.Canceled)
}
