package api

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEventsWanted(t *testing.T) {
	for _, want := range []EventsWanted{
		{},
		{Of: "a&b=c", Network: "lan 1", Node: "h1", Kinds: []string{"given", "released"}, Since: time.Date(2027, 1, 2, 3, 4, 5, 6, time.UTC), Limit: 7},
	} {
		at, err := url.Parse(want.At(EventsRoute))
		if err != nil || at.Path != EventsRoute {
			t.Fatalf("asked at %v, %v", at, err)
		}
		got, err := EventsIn(at.Query())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	for _, query := range []string{"limit=x", "since=yesterday"} {
		values, _ := url.ParseQuery(query)
		if _, err := EventsIn(values); err == nil {
			t.Errorf("%s is taken", query)
		}
	}
}
