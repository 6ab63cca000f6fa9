package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWatchComesBack ends the stream twice and refuses it in between: each event is
// told, each loss once, a new version is agreed on, and waiting starts from anew.
func TestWatchComesBack(t *testing.T) {
	s, e := serve(t, "1.41")
	s.on("GET", "/events", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"Type":"network","Action":"create","Actor":{"ID":"n1","Attributes":{"name":"lan1"}},"scope":"local","timeNano":5}`)
		s.version = "1.51" // the engine is upgraded
	})
	refusals := 3
	s.HandleFunc("GET /v1.51/events", func(w http.ResponseWriter, _ *http.Request) {
		if refusals--; refusals >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	moment := stopClock(e)
	var waits []time.Duration
	e.after = func(d time.Duration) <-chan time.Time {
		waits = append(waits, d)
		due := make(chan time.Time, 1)
		due <- moment
		return due
	}
	ctx, cancel := context.WithCancel(t.Context())
	var told []Event
	losses := 0
	err := e.Watch(ctx, func(event Event) {
		if event.Action == ActionLost {
			if losses++; losses == 2 {
				cancel()
			}
			if event.Err == nil {
				t.Error("lost stream tells no error")
			}
		}
		event.Err = nil
		told = append(told, event)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	want := []Event{
		{Kind: KindStream, Action: ActionConnected, Time: moment},
		{
			Kind: KindNetwork, Action: ActionCreate, ID: "n1", Scope: ScopeLocal,
			Attributes: map[string]string{"name": "lan1"}, Time: time.Unix(0, 5),
		},
		{Kind: KindStream, Action: ActionLost, Time: moment},
		{Kind: KindStream, Action: ActionConnected, Time: moment},
		{Kind: KindStream, Action: ActionLost, Time: moment},
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	ms := time.Millisecond
	if diff := cmp.Diff([]time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 100 * ms}, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

func TestWatchWithoutEngine(t *testing.T) {
	e, err := New(Config{Socket: t.TempDir() + "/none.sock"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	e.after = func(d time.Duration) <-chan time.Time {
		if tries++; tries == 10 {
			cancel()
		}
		if d > lastRetry {
			t.Errorf("wait %d: got %s, want at most %s", tries, d, lastRetry)
		}
		due := make(chan time.Time, 1)
		due <- time.Time{}
		return due
	}
	var told []Event
	_ = e.Watch(ctx, func(event Event) { told = append(told, event) })
	if len(told) != 1 || told[0].Action != ActionLost || !errors.Is(told[0].Err, ErrUnavailable) {
		t.Errorf("told: got %+v, want one loss for %v", told, ErrUnavailable)
	}
}

// TestWatchAsksSinceItAsked: between the engine's first byte and its subscription
// events would be lost otherwise.
func TestWatchAsksSinceItAsked(t *testing.T) {
	s, e := serve(t, "1.51")
	stopClock(e)
	ctx, cancel := context.WithCancel(t.Context())
	s.on("GET", "/events", func(_ http.ResponseWriter, r *http.Request) {
		defer cancel()
		if got, want := r.FormValue("since"), "1700000000.000000042"; got != want {
			t.Errorf("since: got %s, want %s", got, want)
		}
		want := `{"event":{"connect":true,"create":true,"destroy":true,"die":true,"disconnect":true,` +
			`"health_status: healthy":true,"health_status: unhealthy":true,"kill":true,"prune":true,` +
			`"reload":true,"remove":true,"rename":true,"start":true,"stop":true,"update":true},` +
			`"type":{"container":true,"daemon":true,"network":true}}`
		if got := r.FormValue("filters"); got != want {
			t.Errorf("filters: got %s, want %s", got, want)
		}
	})
	_ = e.Watch(ctx, func(Event) {})
}
