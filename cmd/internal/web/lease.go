package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/facts"
)

// leasePage is what html/lease.html shows.
type leasePage struct {
	Address string
	Leases  []leaseCard // one in each segment that has it
	Alone   string      // why the events are not the cluster's; "" where they are
	Events  []eventRow  // of the address, the newest first
}

// leaseCard is an address in one segment.
type leaseCard struct {
	api.LeaseDetail
	look
	Age    string // of what it shows; "": it is so now
	Facts  []told
	Subnet *gridLink // the picture it is in; nil: none is known
	In     line      // the network of that, for the way back
}

// told is what there is to say of something in a row, or in several lines.
type told struct {
	Name  string
	Lines []line
}

// line is a text, and where what it names is shown; "" for nowhere.
type line struct{ Text, Href string }

// tellOf makes rows of facts beside a heading, with links for those names that lead
// somewhere.
func tellOf(heading string, all facts.Facts, leads map[string]string) (rows []told) {
	for i, fact := range all {
		if i == 0 && fact.Text == heading {
			continue
		}
		if fact.Name != "" || len(rows) == 0 {
			rows = append(rows, told{Name: fact.Name})
		}
		row := &rows[len(rows)-1]
		row.Lines = append(row.Lines, line{fact.Text, leads[row.Name]})
	}
	return rows
}

// networks are those that this host knows, for links to them; none where it cannot
// tell.
func (v viewer) networks(ctx context.Context) []api.NetworkView {
	all, err := ask[[]api.NetworkView](ctx, v.agent, api.Known(api.NetworksRoute))
	if err != nil {
		return nil
	}
	return all
}

// linkTo is where a network is shown; "" where several are named, or none.
func linkTo(networks []api.NetworkView, uuid, name string) string {
	if at := slices.IndexFunc(networks, func(n api.NetworkView) bool { return n.UUID == uuid }); at >= 0 {
		return networkLink(networks[at])
	}
	if name == "" || strings.Contains(name, ", ") {
		return ""
	}
	return api.Named("/network", name)
}

// linkOn is where the network of a name is shown that a node has: one of its own, or
// the cluster's. Names in the DNS have theirs in small letters.
func linkOn(networks []api.NetworkView, name, node string) string {
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		at := slices.IndexFunc(networks, func(n api.NetworkView) bool { return same(n.Name, name) && (!isLocal(n) || n.Origin == node) })
		if at >= 0 {
			return networkLink(networks[at])
		}
	}
	return linkTo(nil, "", name)
}

// leadsOf are the links of an address's facts.
func leadsOf(networks []api.NetworkView, v api.LeaseView) map[string]string {
	leads := map[string]string{"mac": searchFor(v.MAC), "container": searchFor(v.Container), "network": linkTo(networks, v.NetworkID, v.Network)}
	if v.Host != "" {
		leads["host"] = api.Named("/host", v.Host)
	}
	return leads
}

// searchFor is the link that looks for something; "" for nothing.
func searchFor(what string) string {
	if what == "" {
		return ""
	}
	return "/search?" + url.Values{"q": {what}}.Encode()
}

// leaseAt is the link to an address in a segment.
func leaseAt(addr netip.Addr, segment string) string {
	return "/lease?" + url.Values{"address": {addr.String()}, "segment": {segment}}.Encode()
}

// mostOfOne is how many events of one address are shown.
const mostOfOne = 50

// lease is the view of an address: all there is of it, who had it and what happened
// to it.
func lease(v viewer, r *http.Request) (page, error) {
	query := r.URL.Query()
	address, network, segment := strings.TrimSpace(query.Get("address")), query.Get("network"), query.Get("segment")
	route := api.Lease(address, network, segment)
	details, err := ask[[]api.LeaseDetail](r.Context(), v.agent, route)
	if err != nil {
		return page{}, err
	}
	if len(details) == 0 {
		return page{}, api.Missing(fmt.Errorf("no network that is meant has address %s: look for the address alone to see which do", address))
	}
	shown := leasePage{Address: details[0].Address.String()}
	networks := v.networks(r.Context())
	all := looksByState()
	for _, d := range details {
		card := leaseCard{LeaseDetail: d, look: all[d.State], Age: facts.Age(d.AsOf, v.now), Facts: tellOf(shown.Address, facts.OfLease(d, v.now), leadsOf(networks, d.LeaseView))}
		card.In, card.Subnet = picture(networks, d.LeaseView)
		shown.Leases = append(shown.Leases, card)
	}
	shown.Events, shown.Alone = v.happenedTo(r.Context(), details)
	return page{Template: "lease", Title: shown.Address, Under: "/", JSON: route, Data: shown}, nil
}

// happenedTo are the events of an address in the segments that are shown, and why
// they are not all that the cluster knows.
func (v viewer) happenedTo(ctx context.Context, details []api.LeaseDetail) ([]eventRow, string) {
	wanted := api.EventsWanted{Of: details[0].Address.String(), Limit: mostOfOne}
	happened, err := ask[api.Events](ctx, v.agent, wanted.At(api.EventsRoute))
	if err != nil {
		return nil, "what happened is not known: " + err.Error()
	}
	return rowsOf(slices.DeleteFunc(slices.Clone(happened.Events), func(e api.Event) bool {
		return e.Segment != "" && !slices.ContainsFunc(details, func(d api.LeaseDetail) bool { return d.Segment == e.Segment })
	})), happened.Alone
}

// picture is the network and the subnet that show an address among others: where
// the subnet is large, the part of it that is shown by squares.
func picture(networks []api.NetworkView, v api.LeaseView) (network line, link *gridLink) {
	named := strings.Split(v.Network, ", ")
	for _, n := range networks {
		if n.Segment != v.Segment || v.Network != "" && !slices.Contains(named, n.Name) {
			continue
		}
		for _, p := range n.Pools {
			if !p.Subnet.Contains(v.Address) {
				continue
			}
			view := subnetPage{SubnetView: api.SubnetView{Network: n.Name, Subnet: p.Subnet}}
			if isLocal(n) {
				view.Node = n.Origin
			}
			at := p.Subnet
			if bits := v.Address.BitLen() - at.Bits(); bits > squareBits {
				at = netip.PrefixFrom(v.Address, v.Address.BitLen()-partBits).Masked()
			}
			return line{n.Name, networkLink(n)}, &gridLink{at, view.href(at)}
		}
	}
	return line{}, nil
}
