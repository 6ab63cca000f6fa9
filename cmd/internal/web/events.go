package web

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"gvlan/cluster/events"
	"gvlan/cmd/internal/api"
)

// eventsPage is what html/events.html shows.
type eventsPage struct {
	Of, Network, Node, Since string // as they were typed
	Kinds                    []kindBox
	Filtered                 bool   // something of the above is wanted
	Chosen                   int    // of the kinds
	Wrong                    string // why what is wanted has no answer
	Alone                    string
	Events                   []eventRow // the newest first
	More                     string     // where there are more of them; "": these are all, or as many as are shown
	Cut                      bool       // there are more
}

// kindBox is a kind of events that can be chosen.
type kindBox struct {
	Kind   events.Kind
	Chosen bool
}

// eventRow is an event; its ID is the same wherever it stands.
type eventRow struct {
	api.Event
	ID string
	In string // link to the network that it names
}

// Badge is how a kind looks: as what it does to whoever is concerned.
func (e eventRow) Badge() string {
	switch events.Kind(e.Kind) {
	case events.Given, events.ConflictOver, events.NetworkMade, events.HostCame, events.GateOpened:
		return "good"
	case events.HostWent, events.Repaired, events.LeftOut:
		return "warn"
	case events.Evicted, events.Conflict, events.GateClosed:
		return "bad"
	}
	return "calm"
}

// how many rows of a long list are shown: those of the last only where somebody
// asks for them.
const (
	fewRows  = 200
	mostRows = 5000
)

// rowsIn is how many rows a request asks for.
func rowsIn(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return fewRows, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > mostRows {
		return 0, api.Refuse(fmt.Errorf("limit %q: give a number from 1 to %d", text, mostRows))
	}
	return limit, nil
}

// moreRows is the same request for more rows; "" where there are none or those are
// the most.
func moreRows(r *http.Request, limit int, cut bool) string {
	if !cut || limit >= mostRows {
		return ""
	}
	query := r.URL.Query()
	query.Set("limit", strconv.Itoa(min(limit*5, mostRows)))
	return r.URL.Path + "?" + query.Encode()
}

// happened is the view of what happened lately in the cluster.
func happened(v viewer, r *http.Request) (page, error) {
	query := r.URL.Query()
	shown := eventsPage{Of: query.Get("of"), Network: query.Get("network"), Node: query.Get("node"), Since: query.Get("since")}
	for _, kind := range events.Kinds() {
		box := kindBox{kind, slices.Contains(query["kind"], string(kind))}
		if box.Chosen {
			shown.Chosen++
		}
		shown.Kinds = append(shown.Kinds, box)
	}
	shown.Filtered = shown.Chosen > 0 || shown.Of+shown.Network+shown.Node+shown.Since != ""
	p := page{Template: "events", Title: "Events", JSON: api.EventsRoute}
	limit, wanted, err := eventsWanted(query, v.now)
	if err == nil {
		p.JSON = wanted.At(api.EventsRoute)
		var all api.Events
		all, err = ask[api.Events](r.Context(), v.agent, p.JSON)
		shown.Alone, shown.Cut = all.Alone, len(all.Events) > limit
		shown.Events = rowsOf(all.Events[max(0, len(all.Events)-limit):])
		networks := v.networks(r.Context())
		for i := range shown.Events {
			e := &shown.Events[i]
			e.In = linkOn(networks, e.Network, e.Node)
		}
		shown.More = moreRows(r, limit, shown.Cut)
	}
	if p.Status = ofAsker(err); err != nil && p.Status == 0 {
		return page{}, err
	} else if err != nil {
		shown.Wrong = err.Error()
	}
	p.Data = shown
	return p, nil
}

// eventsWanted is what a request asks for, and how many of them are shown, which is
// one less than is asked: there may be more.
func eventsWanted(query url.Values, now time.Time) (limit int, w api.EventsWanted, err error) {
	if limit, err = rowsIn(query); err != nil {
		return limit, w, err
	}
	w = api.EventsWanted{Of: query.Get("of"), Network: query.Get("network"), Node: query.Get("node"), Kinds: query["kind"], Limit: limit + 1}
	if w.Since, err = api.SinceIn(query.Get("since"), now); err != nil {
		return limit, w, api.Refuse(fmt.Errorf("since %w", err))
	}
	return limit, w, nil
}

// rowsOf are events, which come the oldest first, from the newest on.
func rowsOf(all []api.Event) []eventRow {
	rows, met := make([]eventRow, len(all)), map[uint64]int{}
	for i, e := range all {
		id := eventID(e)
		rows[len(all)-1-i] = eventRow{Event: e, ID: fmt.Sprintf("event-%x-%d", id, met[id])}
		met[id]++
	}
	return rows
}

// eventID is the same for an event that is told again when its container's name
// is known.
func eventID(e api.Event) uint64 {
	return hashed(strconv.FormatInt(e.Time.UnixNano(), 10), e.Kind, e.Node, e.Network, e.Segment, e.Address, e.MAC, e.Endpoint, e.Text)
}

// hashed is a number for words.
func hashed(words ...string) uint64 {
	sum := fnv.New64a()
	for _, word := range words {
		fmt.Fprintf(sum, "%d %s", len(word), word)
	}
	return sum.Sum64()
}

// ofAsker is the status of an error that is the asker's, who is shown what was
// typed beside it; else 0.
func ofAsker(err error) int {
	if err == nil {
		return 0
	}
	if status := api.StatusOf(err); status < http.StatusInternalServerError {
		return status
	}
	return 0
}
