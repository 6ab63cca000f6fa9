package agent

import (
	"encoding/json"
	"fmt"
	"net/http"

	"gvlan/cmd/internal/api"
	"gvlan/driver/engine"
)

// serveNetworks registers what the network commands ask.
func (p *parts) serveNetworks() {
	p.status.Handle("GET "+api.NetworksRoute, p.listNetworks)
	p.status.Handle("GET "+api.NetworkRoute, p.inspectNetwork)
	p.status.Handle("POST "+api.NetworksRoute, p.createNetwork)
	p.status.Handle("PATCH "+api.NetworkRoute, p.setNetwork)
	p.status.Handle("DELETE "+api.NetworkRoute, p.removeNetwork)
	p.status.Handle("POST "+api.ImportRoute, p.importNetwork)
}

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
	return v.called(api.NameIn(r), p.self.Node)
}

func (p *parts) createNetwork(r *http.Request) (any, error) {
	var request engine.NetworkRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return p.driver.Define(r.Context(), request)
}

func (p *parts) setNetwork(r *http.Request) (any, error) {
	var change api.NetworkChange
	if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return struct{}{}, p.driver.Set(r.Context(), api.NameIn(r), change.Changes)
}

func (p *parts) removeNetwork(r *http.Request) (any, error) {
	return struct{}{}, p.driver.Remove(r.Context(), api.NameIn(r), r.URL.Query().Has("force"))
}

func (p *parts) importNetwork(r *http.Request) (any, error) {
	return p.driver.Import(r.Context(), api.NameIn(r))
}
