package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
)

// searchPage is what html/search.html shows.
type searchPage struct {
	Sought  string
	Hits    []hit
	Near    []line // names like it
	Nothing string // says that nothing was found
}

// hit is one thing that was found.
type hit struct {
	Kind  string // in words
	Name  string
	Href  string // its view; "" for none
	Look  *look  // of an address
	Age   string // of what it shows; "": it is so now
	Facts []told
}

// search is the view of what a whois finds.
func search(v viewer, r *http.Request) (page, error) {
	shown := searchPage{Sought: strings.TrimSpace(r.URL.Query().Get("q"))}
	p := page{Template: "search", Title: "Find", Still: true}
	if shown.Sought == "" {
		p.Data = shown
		return p, nil
	}
	p.Title, p.JSON = shown.Sought, api.Whois(shown.Sought)
	answer, err := ask[api.WhoisAnswer](r.Context(), v.agent, p.JSON)
	if err != nil {
		return page{}, err
	}
	networks := v.networks(r.Context())
	for _, found := range answer.Found {
		shown.Hits = append(shown.Hits, v.hit(networks, found))
	}
	for _, near := range answer.Near {
		shown.Near = append(shown.Near, line{near, searchFor(near)})
	}
	switch {
	case len(answer.Found) == 0:
		shown.Nothing = facts.Nothing(shown.Sought)
	case !slices.ContainsFunc(answer.Found, api.Found.Known):
		shown.Nothing = "nothing is known of " + shown.Sought
	}
	p.Data = shown
	return p, nil
}

// hit tells of one thing that was found, with links to the views of all it names.
func (v viewer) hit(networks []api.NetworkView, found api.Found) hit {
	h, leads := hit{Kind: found.Kind}, map[string]string{}
	switch found.Kind {
	case api.FoundAddress:
		l := looksByState()[found.Lease.State]
		h.Look, h.Age = &l, facts.Age(found.Lease.AsOf, v.now)
		h.Name, h.Href, leads = found.Lease.Address.String(), leaseAt(found.Lease.Address, found.Lease.Segment), leadsOf(networks, *found.Lease)
	case api.FoundMAC:
		h.Kind, h.Name = "MAC address", found.MAC
	case api.FoundContainer:
		h.Name = found.Container
	case api.FoundReserved:
		h.Kind, h.Name = "reserved address", found.Reserved.Address.String()
		h.Href = "/lease?" + url.Values{"address": {h.Name}, "network": {found.Reserved.Network}}.Encode()
		leads["for"], leads["mac"] = searchFor(found.Reserved.For), searchFor(found.Reserved.MAC)
	case api.FoundHost:
		h.Name, h.Href = found.Host.Host, api.Named("/host", found.Host.Host)
	case api.FoundNetwork:
		h.Name, h.Href = found.Network.Name, linkTo(networks, found.Network.UUID, found.Network.Name)
	}
	h.Facts = tellOf(h.Name, facts.OfFound(found, v.now), leads)
	h.wants(found.Wants)
	return h
}

// wants has each address that a container without one wants lead to it.
func (h *hit) wants(all []api.Wanted) {
	for i := range h.Facts {
		if row := &h.Facts[i]; (row.Name == facts.Stopped || row.Name == facts.Removed) && len(all) > 0 {
			row.Lines[0].Href = "/lease?" + url.Values{"address": {all[0].Address.String()}, "network": {all[0].Network}}.Encode()
			all = all[1:]
		}
	}
}
