package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"gvlan/dns/listen"
	"gvlan/dns/zone"
)

// Routes of the dns commands.
const (
	namesRoute  = "/v1/dns/names"
	lookupRoute = "/v1/dns/lookup"
	setupRoute  = "/v1/dns/setup"
	countsRoute = "/v1/dns/counts"
)

// Looked is the answer to a lookup.
type Looked struct {
	Answer string `json:"answer"`
	Known  bool   `json:"known"`          // false: the question would be passed on
	Hint   string `json:"hint,omitempty"` // ends a sentence about a name that is none
}

// NameView is a name and where it is.
type NameView struct {
	zone.Record
	Host string // what people call the node
}

// NameCounts counts queries of one zone by rcode.
type NameCounts struct {
	Zone  string            `json:"zone"`
	Codes map[string]uint64 `json:"codes"`
}

func (p *parts) serveNameRoutes() {
	p.status.handle("GET "+namesRoute, p.listNames)
	p.status.handle("GET "+doubtsRoute, p.listDoubts)
	p.status.handle("GET "+lookupRoute, p.lookupName)
	p.status.handle("GET "+setupRoute, p.nameSetup)
	p.status.handle("GET "+countsRoute, p.countNames)
}

func (p *parts) listNames(r *http.Request) (any, error) {
	scope, err := p.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	called := callNodes(p.nodeNames())
	views := []NameView{}
	for _, record := range p.names.zone.Names(scope) {
		views = append(views, NameView{Record: record, Host: called(record.Node)})
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
	answer := Looked{Answer: looked.Text, Known: looked.Known}
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
	all := []NameCounts{}
	for _, z := range p.names.zone.Counts() {
		counts := NameCounts{Zone: z.Zone, Codes: map[string]uint64{}}
		z.Codes(func(code string, n uint64) { counts.Codes[code] = n })
		all = append(all, counts)
	}
	return all, nil
}
