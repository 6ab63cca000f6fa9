package api

import (
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
			return w, err
		}
	}
	if limit := query.Get("limit"); limit != "" {
		w.Limit, err = strconv.Atoi(limit)
	}
	return w, err
}
