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

func TestSince(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 30, 0, 0, time.FixedZone("", 3600))
	for text, want := range map[string]time.Time{
		"": {}, "90m": now.Add(-90 * time.Minute), "12:00": now.Add(-30 * time.Minute), "13:00:01": now.Add(-24*time.Hour + 30*time.Minute + time.Second),
		"2026-03-04T10:00:00Z": time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC),
	} {
		if got, err := SinceIn(text, now); err != nil || !got.Equal(want) {
			t.Errorf("--since %q is %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := SinceIn("-1h", now); err == nil {
		t.Error("a time to come is taken")
	}
}
