package agent

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"gvlan/cmd/internal/api"
	"gvlan/dns/listen"
	"gvlan/dns/zone"
)

func (p *parts) serveNameRoutes() {
	p.status.Handle("GET "+api.NamesRoute, p.listNames)
	p.status.Handle("GET "+api.DoubtsRoute, p.listDoubts)
	p.status.Handle("GET "+api.LookupRoute, p.lookupName)
	p.status.Handle("GET "+api.SetupRoute, p.nameSetup)
	p.status.Handle("GET "+api.CountsRoute, p.countNames)
}

func (p *parts) listNames(r *http.Request) (any, error) {
	scope, err := p.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	called := api.CallNodes(p.nodeNames())
	views := []api.NameView{}
	for _, record := range p.names.zone.Names(scope) {
		views = append(views, api.NameView{Record: record, Host: called(record.Node)})
	}
	return views, nil
}

func (p *parts) lookupName(r *http.Request) (any, error) {
	scope, err := p.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	zone, name := p.names.zone, r.URL.Query().Get("name")
	looked, err := zone.Lookup(scope, name, r.URL.Query().Get("type"))
	if err != nil {
		return nil, err
	}
	answer := api.Looked{Answer: looked.Text, Known: looked.Known}
	if !looked.Known || looked.Missing {
		answer.Hint = hint(namesNear(name, zone.Domain(), zone.Names(scope)))
	}
	return answer, nil
}

// scopeFrom is what the container of the question may see, or everything.
func (p *parts) scopeFrom(r *http.Request) (zone.Scope, error) {
	container := r.URL.Query().Get("from")
	if container == "" {
		return zone.Everything(), nil
	}
	endpoints, err := p.endpointsNow(r.Context())
	if err != nil {
		return zone.Scope{}, err
	}
	var networks []string
	for _, e := range endpoints {
		named := e.Container.Name == container || (len(container) >= 4 && strings.HasPrefix(e.Container.ID, container))
		if named && !slices.Contains(networks, e.Network) {
			networks = append(networks, e.Network)
		}
	}
	if len(networks) == 0 {
		return zone.Scope{}, fmt.Errorf("no running container %s is on a network of gvlan", container)
	}
	return zone.Networks(networks...), nil
}

func (p *parts) nameSetup(*http.Request) (any, error) {
	if len(p.config.DNS.Listen) == 0 {
		return nil, fmt.Errorf("this agent serves no names to its host: give --dns-listen")
	}
	server, err := netip.ParseAddrPort(p.config.DNS.Listen[0])
	if err != nil {
		return nil, err
	}
	return listen.Setup{Server: server, Domain: p.names.zone.Domain(), Reverse: p.names.zone.ReverseZones()}, nil
}

func (p *parts) countNames(*http.Request) (any, error) {
	all := []api.NameCounts{}
	for _, z := range p.names.zone.Counts() {
		counts := api.NameCounts{Zone: z.Zone, Codes: map[string]uint64{}}
		z.Codes(func(code string, n uint64) { counts.Codes[code] = n })
		all = append(all, counts)
	}
	return all, nil
}
