package web

import (
	"net/http"
	"slices"

	"gvlan/cmd/internal/api"
)

// readable are the routes of the status socket that the site serves as well: those
// that change nothing and tell no secret.
func readable() []string {
	return []string{
		api.NetworksRoute, api.NetworkRoute, api.PoolsRoute, api.SubnetRoute, api.LeasesRoute, api.LeaseRoute, api.WhoisRoute, api.ConflictsRoute,
		api.NodesRoute, api.MembersRoute, api.StatusRoute, api.StoreRoute, api.RoutesRoute, api.BGPRoute,
		api.NamesRoute, api.LookupRoute, api.DoubtsRoute, api.CountsRoute, api.EventsRoute, api.EventsFollowRoute,
	}
}

// reading serves those.
func (s *Site) reading(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(readable(), r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	s.Agent.ServeHTTP(w, r)
}
