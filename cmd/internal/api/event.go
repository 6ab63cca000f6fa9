package api

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Routes of gvlan events.
const (
	EventsRoute       = "/v1/events" // by what EventsWanted says
	EventsFollowRoute = "/v1/events/follow"
)

// Event is one thing that happened in the cluster.
type Event struct {
	Time      time.Time `json:"time"`
	Kind      string    `json:"kind"`
	Node      string    `json:"node"`
	Host      string    `json:"host"` // what people call the node
	Network   string    `json:"network,omitempty"`
	Segment   string    `json:"segment,omitempty"`
	Address   string    `json:"address,omitempty"`
	MAC       string    `json:"mac,omitempty"`
	Container string    `json:"container,omitempty"`
	Endpoint  string    `json:"endpoint,omitempty"`
	Text      string    `json:"text,omitempty"`
}

// Subject is what an event is about, in one word.
func (e Event) Subject() string { return cmp.Or(e.Address, e.Network, e.Host) }

// What says what happened: "192.168.1.130 web (lan)".
func (e Event) What() string {
	var said strings.Builder
	for _, part := range e.Said() {
		said.WriteString(part.Text)
	}
	return said.String()
}

// Said is a part of what an event says.
type Said struct {
	Text string
	Of   SaidOf
}

// SaidOf is what a part of a sentence names.
type SaidOf string

// What is named.
const (
	SaidAddress   SaidOf = "address"
	SaidContainer SaidOf = "container"
	SaidNetwork   SaidOf = "network"
)

// Said is What in its parts, of which the sentence is what they are one after the
// other.
func (e Event) Said() (all []Said) {
	for _, part := range []Said{{e.Address, SaidAddress}, {e.Container, SaidContainer}} {
		if part.Text == "" {
			continue
		}
		if len(all) > 0 {
			all = append(all, Said{Text: " "})
		}
		all = append(all, part)
	}
	switch network := (Said{e.Network, SaidNetwork}); {
	case e.Network != "" && len(all) > 0:
		all = append(all, Said{Text: " ("}, network, Said{Text: ")"})
	case e.Network != "":
		all = append(all, network)
	}
	if e.Text != "" && len(all) > 0 {
		all = append(all, Said{Text: ": "})
	}
	if e.Text != "" {
		all = append(all, Said{Text: e.Text})
	}
	return all
}

// SinceIn is from when on events are wanted, as people write it: how long ago it
// was, a time of the day, or of a day. "" is the zero time.
func SinceIn(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		at, err := time.ParseInLocation(layout, text, now.Location())
		if err != nil {
			continue
		}
		at = time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, now.Location())
		if at.After(now) {
			at = at.AddDate(0, 0, -1) // of yesterday: nothing is older than a day
		}
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: give a duration as 1h30m, a time as 15:04 or 2027-01-02T15:04:05Z", text)
}

// Events are those that were asked for, the oldest first.
type Events struct {
	Events []Event `json:"events"`
	// Alone is why they are this host's own only; "" where they are the cluster's.
	Alone string `json:"alone,omitempty"`
}

// EventTold is one line of what follows: an event, or what there is to say of
// those that do not come.
type EventTold struct {
	Event *Event `json:"event,omitempty"`
	Alone string `json:"alone,omitempty"`
}

// EventsWanted says which events are asked for. A zero field asks for any.
type EventsWanted struct {
	Of      string // an address, a MAC address, or the name of a container
	Network string
	Node    string // a host, by its name or node
	Kinds   []string
	Since   time.Time
	Limit   int // the newest ones
}

// At is a route with what is wanted in its query.
func (w EventsWanted) At(route string) string {
	query := url.Values{}
	for key, value := range map[string]string{"of": w.Of, "network": w.Network, "node": w.Node, "kinds": strings.Join(w.Kinds, ",")} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if !w.Since.IsZero() {
		query.Set("since", w.Since.Format(time.RFC3339Nano))
	}
	if w.Limit > 0 {
		query.Set("limit", strconv.Itoa(w.Limit))
	}
	return route + "?" + query.Encode()
}

// EventsIn is the inverse of At.
func EventsIn(query url.Values) (w EventsWanted, err error) {
	w = EventsWanted{Of: query.Get("of"), Network: query.Get("network"), Node: query.Get("node")}
	if kinds := query.Get("kinds"); kinds != "" {
		w.Kinds = strings.Split(kinds, ",")
	}
	if since := query.Get("since"); since != "" {
		if w.Since, err = time.Parse(time.RFC3339Nano, since); err != nil {
			return w, fmt.Errorf("since %q is no time: give one as 2027-01-02T15:04:05Z", since)
		}
	}
	if limit := query.Get("limit"); limit != "" {
		if w.Limit, err = strconv.Atoi(limit); err != nil || w.Limit < 0 {
			return w, fmt.Errorf("limit %q: give a number of events, 0 for all", limit)
		}
	}
	return w, nil
}
