package answer

import (
	"cmp"
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

// Names answers the dns commands.
type Names struct {
	Zone    *zone.Zone
	Listen  []string // --dns-listen
	Roster  Roster
	Records *Records
}

// Register adds the routes of the dns commands to the server.
func (a Names) Register(server *api.Server) {
	server.Handle("GET "+api.NamesRoute, a.list)
	server.Handle("GET "+api.DoubtsRoute, a.doubts)
	server.Handle("GET "+api.LookupRoute, a.lookup)
	server.Handle("GET "+api.SetupRoute, a.setup)
	server.Handle("GET "+api.CountsRoute, a.counts)
}

func (a Names) list(r *http.Request) (any, error) {
	scope, err := a.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	called := api.CallNodes(a.Roster.Names())
	records := a.Zone.Names(scope)
	views := make([]api.NameView, len(records))
	for i, record := range records {
		views[i] = api.NameView{Record: record, Host: called(record.Node)}
		if record.Network != "" {
			views[i].Full = fullName(record, a.Zone.Domain())
		}
	}
	return views, nil
}

func (a Names) lookup(r *http.Request) (any, error) {
	scope, err := a.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	name := r.URL.Query().Get("name")
	looked, err := a.Zone.Lookup(scope, name, cmp.Or(r.URL.Query().Get("type"), "A"))
	if err != nil { // it cannot be asked so
		return nil, api.Refuse(err)
	}
	answer := api.Looked{Answer: looked.Text, Known: looked.Known}
	if !looked.Known || looked.Missing {
		answer.Hint = hint(namesNear(name, a.Zone.Domain(), a.Zone.Names(scope)))
	}
	return answer, nil
}

// scopeFrom is the networks of the container that `--from` names, else all.
func (a Names) scopeFrom(r *http.Request) (zone.Scope, error) {
	container := r.URL.Query().Get("from")
	if container == "" {
		return zone.Everything(), nil
	}
	endpoints, err := a.Records.endpointsNow(r.Context())
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
		return zone.Scope{}, api.Missing(fmt.Errorf("no running container %s is on a network of gvlan", container))
	}
	return zone.Networks(networks...), nil
}

func (a Names) setup(*http.Request) (any, error) {
	if len(a.Listen) == 0 {
		return nil, fmt.Errorf("this agent serves no names to its host: give --dns-listen")
	}
	server, err := netip.ParseAddrPort(a.Listen[0])
	if err != nil {
		return nil, err
	}
	return listen.Setup{Server: server, Domain: a.Zone.Domain(), Reverse: a.Zone.ReverseZones()}, nil
}

func (a Names) counts(*http.Request) (any, error) {
	all := []api.NameCounts{}
	for _, z := range a.Zone.Counts() {
		counts := api.NameCounts{Zone: z.Zone, Codes: map[string]uint64{}}
		z.Codes(func(code string, n uint64) { counts.Codes[code] = n })
		all = append(all, counts)
	}
	return all, nil
}

// doubts lists what makes names in scope ambiguous: containers that share one,
// and networks without full names.
func (a Names) doubts(r *http.Request) (any, error) {
	scope, err := a.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	called, doubts := api.CallNodes(a.Roster.Names()), []string{}
	for _, n := range a.Zone.Namesakes(scope) {
		doubts = append(doubts, n.Doubt(called))
	}
	for _, c := range a.Zone.Conflicts() {
		doubts = append(doubts, c.Doubt())
	}
	return doubts, nil
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
