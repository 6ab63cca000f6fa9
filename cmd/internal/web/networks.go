package web

import (
	"net/http"

	"gvlan/cmd/internal/api"
)

// networksPage is what html/networks.html shows.
type networksPage struct {
	Networks []networkRow
}

// networkRow is a network with how full its subnets are.
type networkRow struct {
	api.NetworkView
	Subnets []api.PoolView
}

func networks(v viewer, r *http.Request) (page, error) {
	all, err := ask[[]api.NetworkView](r.Context(), v.agent, api.NetworksRoute)
	if err != nil {
		return page{}, err
	}
	pools, err := ask[[]api.PoolView](r.Context(), v.agent, api.PoolsRoute)
	if err != nil {
		return page{}, err
	}
	shown := networksPage{}
	for _, n := range all {
		row := networkRow{NetworkView: n}
		for _, p := range pools {
			if p.Network == n.Name && p.Segment == n.Segment {
				row.Subnets = append(row.Subnets, p)
			}
		}
		shown.Networks = append(shown.Networks, row)
	}
	return page{Template: "networks", Title: "Networks", JSON: api.NetworksRoute, Data: shown}, nil
}
