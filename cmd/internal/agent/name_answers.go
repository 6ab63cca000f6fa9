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
	"gvlan/ipam/pool"
)

// nameAnswers answers the dns commands.
type nameAnswers struct {
	zone    *zone.Zone
	listen  []string // --dns-listen
	nodes   *nodes
	records *records
}

// register adds the routes of the dns commands to the server.
func (a nameAnswers) register(server *api.Server) {
	server.Handle("GET "+api.NamesRoute, a.list)
	server.Handle("GET "+api.DoubtsRoute, a.doubts)
	server.Handle("GET "+api.LookupRoute, a.lookup)
	server.Handle("GET "+api.SetupRoute, a.setup)
	server.Handle("GET "+api.CountsRoute, a.counts)
}

func (a nameAnswers) list(r *http.Request) (any, error) {
	scope, err := a.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	called := api.CallNodes(a.nodes.names())
	views := []api.NameView{}
	for _, record := range a.zone.Names(scope) {
		views = append(views, api.NameView{Record: record, Host: called(record.Node)})
	}
	return views, nil
}

func (a nameAnswers) lookup(r *http.Request) (any, error) {
	scope, err := a.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	name := r.URL.Query().Get("name")
	looked, err := a.zone.Lookup(scope, name, r.URL.Query().Get("type"))
	if err != nil {
		return nil, err
	}
	answer := api.Looked{Answer: looked.Text, Known: looked.Known}
	if !looked.Known || looked.Missing {
		answer.Hint = hint(namesNear(name, a.zone.Domain(), a.zone.Names(scope)))
	}
	return answer, nil
}

// scopeFrom is the networks of the container that `--from` names, else all.
func (a nameAnswers) scopeFrom(r *http.Request) (zone.Scope, error) {
	container := r.URL.Query().Get("from")
	if container == "" {
		return zone.Everything(), nil
	}
	endpoints, err := a.records.endpointsNow(r.Context())
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

func (a nameAnswers) setup(*http.Request) (any, error) {
	if len(a.listen) == 0 {
		return nil, fmt.Errorf("this agent serves no names to its host: give --dns-listen")
	}
	server, err := netip.ParseAddrPort(a.listen[0])
	if err != nil {
		return nil, err
	}
	return listen.Setup{Server: server, Domain: a.zone.Domain(), Reverse: a.zone.ReverseZones()}, nil
}

func (a nameAnswers) counts(*http.Request) (any, error) {
	all := []api.NameCounts{}
	for _, z := range a.zone.Counts() {
		counts := api.NameCounts{Zone: z.Zone, Codes: map[string]uint64{}}
		z.Codes(func(code string, n uint64) { counts.Codes[code] = n })
		all = append(all, counts)
	}
	return all, nil
}

// doubts lists what makes names in scope ambiguous: containers that share one,
// and networks without full names.
func (a nameAnswers) doubts(r *http.Request) (any, error) {
	scope, err := a.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	called, doubts := api.CallNodes(a.nodes.names()), []string{}
	for _, n := range a.zone.Namesakes(scope) {
		doubts = append(doubts, namesakesDoubt(n, called))
	}
	for _, c := range a.zone.Conflicts() {
		doubts = append(doubts, conflictDoubt(c))
	}
	return doubts, nil
}

func namesakesDoubt(n zone.Namesakes, called func(node string) string) string {
	var hosts []string
	for _, node := range n.Nodes {
		hosts = append(hosts, called(node))
	}
	slices.Sort(hosts)
	last := len(hosts) - 1
	return fmt.Sprintf("container name %s is used on hosts %s and %s in network %s: it answers with the addresses of all of them",
		n.Name, strings.Join(hosts[:last], ", "), hosts[last], n.Network)
}

func conflictDoubt(c zone.Conflict) string {
	if c.With == "" {
		return fmt.Sprintf("network %s has no full names, for what it is called cannot stand in one: its containers answer to their bare names", c.Network)
	}
	return fmt.Sprintf("network %s has no full names, for %s would have the same (%s): its containers answer to their bare names", c.Network, c.With, c.Label)
}

// namesNear are full names close to one without an answer: the same container's
// on other networks, else those of the nearest spelling.
func namesNear(asked, domain string, records []zone.Record) []string {
	container, _, _ := strings.Cut(strings.ToLower(asked), ".")
	var known []string
	for _, r := range records {
		known = append(known, r.Name)
	}
	if !slices.Contains(known, container) {
		container = pool.Nearest(container, known)
	}
	var near []string
	for _, r := range records {
		if r.Name == container {
			near = append(near, fullName(r, domain))
		}
	}
	slices.Sort(near)
	return slices.Compact(near)
}

func fullName(r zone.Record, domain string) string {
	if r.Network == "" {
		return r.Name
	}
	return r.Name + "." + r.Network + "." + domain
}

// hint ends a sentence about a name that has no answer.
func hint(near []string) string {
	if len(near) == 0 {
		return "; gvlan dns ls lists the names there are"
	}
	return "; did you mean " + strings.Join(near[:min(len(near), 3)], " or ") + "? gvlan dns ls lists them all"
}
