package web

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cmd/internal/api"
)

// lately is what happened before noon.
func lately() []api.Event {
	return []api.Event{
		{Time: noon.Add(-2 * time.Hour), Kind: "host-came", Node: "id1", Host: "h1"},
		{Time: noon.Add(-time.Hour), Kind: "given", Node: "id1", Host: "h1", Network: "lan", Segment: "default", Address: "10.0.0.3", Container: "web", Endpoint: "e1"},
		{Time: noon.Add(-time.Hour), Kind: "given", Node: "id2", Host: "h2", Network: "lan", Segment: "default", Address: "10.0.0.4", Container: "db", Endpoint: "e2"},
		{Time: noon.Add(-time.Minute), Kind: "evicted", Node: "id2", Host: "h2", Text: "it was silent"},
	}
}

var rowID = regexp.MustCompile(`<tr id="([^"]+)"`)

func idsIn(body string) (ids []string) {
	for _, found := range rowID.FindAllStringSubmatch(body, -1) {
		ids = append(ids, found[1])
	}
	return ids
}

func TestEvents(t *testing.T) {
	all := lately()
	body := get(t, newSite(t, answers{"/v1/events?limit=201": api.Events{Events: all}}), "/events").Body.String()
	var at []int
	for _, text := range []string{
		`<a href="/host?name=h2">h2</a>`, `<span class="badge bad">evicted</span>`, `it was silent`,
		`href="/lease?address=10.0.0.4&amp;network=lan&amp;segment=default">10.0.0.4</a> <a href="/search?q=db">db</a> (<a href="/network?name=lan">lan</a>)</span>`,
		`>10.0.0.3</a>`, `10:00:00</time>`, `href="/v1/events?limit=201"`,
	} {
		at = append(at, strings.Index(body, text))
	}
	if slices.Contains(at, -1) || !slices.IsSorted(at) {
		t.Errorf("what there is to see stands at %v in %s", at, body)
	}
	before := idsIn(body)
	all = append(all, api.Event{Time: noon, Kind: "released", Node: "id1", Host: "h1", Network: "lan", Address: "10.0.0.3", Endpoint: "e1"})
	all[1].Container = "web-1" // a name that is known late
	after := idsIn(get(t, newSite(t, answers{"/v1/events?limit=201": api.Events{Events: all}}), "/events").Body.String())
	if len(before) != 4 || len(after) != 5 || !slices.Equal(before, after[1:]) {
		t.Errorf("rows are %v, and with one more %v", before, after)
	}
}

// TestTwinsAmongEvents: what is the same twice is two rows.
func TestTwinsAmongEvents(t *testing.T) {
	twin := lately()[3]
	ids := idsIn(get(t, newSite(t, answers{"/v1/events?limit=201": api.Events{Events: []api.Event{twin, twin}}}), "/events").Body.String())
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Errorf("rows are %v", ids)
	}
}

func TestEventsThatAreChosen(t *testing.T) {
	route := "/v1/events?kinds=given%2Cevicted&limit=2&network=lan&node=h2&of=w%26b&since=2026-11-30T11%3A00%3A00Z"
	asked := "/events?of=w%26b&network=lan&node=h2&since=1h&kind=given&kind=evicted&limit=1"
	body := get(t, newSite(t, answers{route: api.Events{Events: lately()[2:], Alone: "etcd does not answer: these are this host's own events"}}), asked).Body.String()
	for _, text := range []string{
		`value="w&amp;b"`, `name="network" value="lan"`, `name="node" value="h2"`, `name="since" value="1h"`, `value="given" checked`, `value="evicted" checked`,
		"<details open>", "etcd does not answer: these are this host&#39;s own events", "These are the newest 1.",
		`href="/events?kind=given&amp;kind=evicted&amp;limit=5&amp;network=lan&amp;node=h2&amp;of=w%26b&amp;since=1h"`, `<a href="/events">all events</a>`,
	} {
		if !strings.Contains(body, text) {
			t.Errorf("%s is not in %s", text, body)
		}
	}
	if strings.Contains(body, `value="released" checked`) || strings.Contains(body, ">10.0.0.4<") {
		t.Errorf("more is shown than was chosen: %s", body)
	}
}

// TestEventsThatAreNoQuestion are refused beside what was typed.
func TestEventsThatAreNoQuestion(t *testing.T) {
	for asked, test := range map[string]struct {
		answer any
		status int
		says   string
	}{
		"/events?since=soon":   {nil, http.StatusBadRequest, `since &#34;soon&#34; is no time: give a duration`},
		"/events?limit=0":      {nil, http.StatusBadRequest, `limit &#34;0&#34;: give a number from 1 to 5000`},
		"/events?limit=5001":   {nil, http.StatusBadRequest, `give a number from 1 to 5000`},
		"/events?node=nowhere": {api.Missing(errors.New("no node is called nowhere")), http.StatusNotFound, `value="nowhere"`},
		"/events?of=x":         {errors.New("broken"), http.StatusInternalServerError, "Not shown"},
	} {
		w := get(t, newSite(t, answers{"/v1/events?limit=201&node=nowhere": test.answer, "/v1/events?limit=201&of=x": test.answer}), asked)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
			t.Errorf("%s is answered %d: %s", asked, w.Code, w.Body)
		}
	}
}
