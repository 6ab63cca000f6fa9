package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gvlan/cmd/internal/api"
)

// namesPage is what html/names.html shows.
type namesPage struct {
	From, Text string // as they were typed
	Wrong      string // why there is no answer to that
	Doubts     []string
	Names      []nameRow
	Found      int // names, of which some are shown
	All        int // names that there are
	More       string
}

// nameRow is a name; its ID is the same wherever it stands.
type nameRow struct {
	api.NameView
	ID string
	In string // link to its network
}

// Rest is what follows the name in the full one.
func (n nameRow) Rest() string { return strings.TrimPrefix(n.Full, n.Name) }

// names is the view of what resolves to what.
func names(v viewer, r *http.Request) (page, error) {
	query := r.URL.Query()
	shown := namesPage{From: query.Get("from"), Text: query.Get("text")}
	from := ""
	if shown.From != "" {
		from = "?" + url.Values{"from": {shown.From}}.Encode()
	}
	p := page{Template: "names", Title: "Names", JSON: api.NamesRoute + from}
	limit, err := rowsIn(query)
	var all []api.NameView
	if err == nil {
		all, err = ask[[]api.NameView](r.Context(), v.agent, api.NamesRoute+from)
	}
	if err == nil {
		shown.Doubts, err = ask[[]string](r.Context(), v.agent, api.DoubtsRoute+from)
	}
	if p.Status = ofAsker(err); err != nil && p.Status == 0 {
		return page{}, err
	} else if err != nil {
		shown.Wrong = err.Error()
	}
	met, networks := map[uint64]int{}, v.networks(r.Context())
	for _, view := range all {
		if shown.All++; !hasText(view, shown.Text) {
			continue
		}
		if shown.Found++; shown.Found > limit {
			continue
		}
		id := hashed(append([]string{view.Name, view.Network, view.Node}, addressesOf(view)...)...)
		shown.Names = append(shown.Names, nameRow{view, fmt.Sprintf("name-%x-%d", id, met[id]), linkOn(networks, view.Network, view.Node)})
		met[id]++
	}
	shown.More = moreRows(r, limit, shown.Found > limit)
	p.Data = shown
	return p, nil
}

// hasText reports whether one of the things that a row shows has a text in it, in
// whichever case.
func hasText(view api.NameView, text string) bool {
	text = strings.ToLower(text)
	for _, cell := range append(addressesOf(view), view.Name, view.Full, view.Network, view.Host) {
		if strings.Contains(strings.ToLower(cell), text) {
			return true
		}
	}
	return false
}

func addressesOf(view api.NameView) (all []string) {
	for _, addr := range view.Addresses {
		all = append(all, addr.String())
	}
	return all
}
