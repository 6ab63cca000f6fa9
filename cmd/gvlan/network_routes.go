package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"gvlan/driver/engine"
)

// Routes of the network commands. Those of one network take its name as the
// value "name" of the query: a name is any text, and in a path "/" and ".."
// mean something else.
const (
	networksRoute = "/v1/networks"
	networkRoute  = "/v1/network"
	importRoute   = "/v1/network/import"
)

// networkChange is the body of a PATCH: KEY=VALUE as `network set` takes them.
type networkChange struct {
	Changes []string `json:"changes"`
}

// serveNetworks registers what the network commands ask.
func (p *parts) serveNetworks() {
	p.status.handle("GET "+networksRoute, p.listNetworks)
	p.status.handle("GET "+networkRoute, p.inspectNetwork)
	p.status.handle("POST "+networksRoute, p.createNetwork)
	p.status.handle("PATCH "+networkRoute, p.setNetwork)
	p.status.handle("DELETE "+networkRoute, p.removeNetwork)
	p.status.handle("POST "+importRoute, p.importNetwork)
}

// called is the name that a request for one network or node gives.
func called(r *http.Request) string { return r.URL.Query().Get("name") }

func (p *parts) listNetworks(r *http.Request) (any, error) {
	v, err := p.clusterNow(r.Context())
	if err != nil {
		return nil, err
	}
	return v.views(), nil
}

func (p *parts) inspectNetwork(r *http.Request) (any, error) {
	v, err := p.clusterNow(r.Context())
	if err != nil {
		return nil, err
	}
	return v.called(called(r), p.self.Node)
}

func (p *parts) createNetwork(r *http.Request) (any, error) {
	var request engine.NetworkRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return p.driver.Define(r.Context(), request)
}

func (p *parts) setNetwork(r *http.Request) (any, error) {
	var change networkChange
	if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return struct{}{}, p.driver.Set(r.Context(), called(r), change.Changes)
}

func (p *parts) removeNetwork(r *http.Request) (any, error) {
	return struct{}{}, p.driver.Remove(r.Context(), called(r), r.URL.Query().Has("force"))
}

func (p *parts) importNetwork(r *http.Request) (any, error) {
	return p.driver.Import(r.Context(), called(r))
}
