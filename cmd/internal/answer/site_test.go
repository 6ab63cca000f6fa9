package answer

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gvlan/cluster/events"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/web"
	"gvlan/driver"
	"gvlan/driver/hostroute"
	"gvlan/ipam/reserve"
)

// site is the page of the host that leases is about, with what it answers about
// networks, addresses, hosts, names and events.
func site(t testing.TB) http.Handler {
	t.Helper()
	leases, kv, _ := leases(t)
	server, err := api.NewServer(filepath.Join(t.TempDir(), "s"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // nobody comes by the socket
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := server.Run(ended); err != nil {
			t.Error(err)
		}
	})
	recorder, err := events.New(events.Config{Node: "id1", Keeper: forgetful{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	leases.Register(server)
	Subnets{leases}.Register(server)
	Conflicts{Roster: leases.Roster, Leases: leases}.Register(server)
	Names{Zone: leases.Zone, Roster: leases.Roster, Records: leases.Records}.Register(server)
	Events{Recorder: recorder, KV: kv, Roster: leases.Roster, Records: leases.Records}.Register(server)
	Nodes{Roster: leases.Roster, Records: leases.Records}.Register(server)
	Networks{
		Records: leases.Records, Driver: &driver.Driver{Routes: &hostroute.Routes{}}, Node: "id1", Roster: leases.Roster,
		Reservations: func() []reserve.Reservation { return nil },
	}.Register(server)
	return (&web.Site{Agent: server.Reader(), Host: "h1", Version: "test", Now: time.Now, Log: slog.New(slog.DiscardHandler)}).Handler()
}

// forgetful keeps nothing.
type forgetful struct{}

func (forgetful) Keep(map[string][]byte) error { return nil }

func (forgetful) Each(func(string, []byte) error) error { return nil }

// asks are what somebody may ask of the page, and a question of each kind that has no
// answer.
func asks() map[string]int {
	return map[string]int{
		"/": http.StatusOK, "/names": http.StatusOK, "/events": http.StatusOK, "/names?from=web&text=10": http.StatusOK,
		"/events?of=10.0.0.5&kind=given&since=300h&network=lan&node=h2": http.StatusOK,
		"/v1/networks": http.StatusOK, "/v1/networks?known": http.StatusOK, "/v1/network?name=lan": http.StatusOK, "/v1/pools": http.StatusOK,
		"/v1/leases": http.StatusOK, "/v1/leases?network=lan&node=h2": http.StatusOK, "/v1/lease?address=10.0.0.3": http.StatusOK,
		"/v1/whois?of=web": http.StatusOK, "/v1/whois?of=10.0.0.9": http.StatusOK, "/v1/whois?of=02:00:00:00:00:03": http.StatusOK, "/v1/whois?of=nobody": http.StatusOK,
		"/v1/conflicts": http.StatusOK, "/v1/nodes": http.StatusOK, "/v1/nodes?known=1": http.StatusOK, "/v1/members": http.StatusOK,
		"/v1/routes": http.StatusOK, "/v1/bgp": http.StatusOK, "/v1/dns/names?from=db": http.StatusOK, "/v1/dns/doubts": http.StatusOK, "/v1/dns/counts": http.StatusOK,
		"/v1/dns/lookup?name=web&from=db&type=A": http.StatusOK, "/v1/dns/lookup?name=web": http.StatusOK,
		"/v1/events?limit=0&kinds=given,released&since=2026-01-01T00:00:00Z": http.StatusOK,
		"/v1/events/follow?kinds=given":                                      http.StatusOK,
		"/v1/subnet?network=lan&subnet=10.0.0.0/24&at=10.0.0.0/25":           http.StatusOK,

		"/names?from=nobody": http.StatusNotFound, "/names?limit=many": http.StatusBadRequest, "/events?kind=x": http.StatusBadRequest,
		"/events?node=nowhere": http.StatusNotFound, "/events?since=soon": http.StatusBadRequest,
		"/v1/network": http.StatusNotFound, "/v1/network?name=nosuch": http.StatusNotFound, "/v1/lease?address=x": http.StatusBadRequest,
		"/v1/leases?node=nowhere": http.StatusNotFound, "/v1/leases?network=nosuch": http.StatusNotFound, "/v1/whois": http.StatusBadRequest,
		"/v1/dns/names?from=nobody": http.StatusNotFound, "/v1/dns/doubts?from=nobody": http.StatusNotFound, "/v1/dns/lookup?name=web&type=x": http.StatusBadRequest,
		"/v1/dns/lookup?name=a..b": http.StatusBadRequest, "/v1/events?kinds=x": http.StatusBadRequest, "/v1/events?since=soon": http.StatusBadRequest,
		"/v1/events?limit=-1": http.StatusBadRequest, "/v1/events?node=nowhere": http.StatusNotFound, "/v1/events/follow?kinds=x": http.StatusBadRequest,
		"/v1/events/follow?node=nowhere": http.StatusNotFound, "/v1/subnet?network=nosuch&subnet=10.0.0.0/24": http.StatusNotFound, "/v1/subnet?network=lan&subnet=x": http.StatusNotFound,
	}
}

// ask has the site answer, and does not wait for what goes on.
func ask(site http.Handler, path, query string) *httptest.ResponseRecorder {
	ctx := context.Background()
	method := http.MethodGet
	if path == api.EventsFollowRoute {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		ctx = gone
	}
	if path == "/live" {
		method = http.MethodHead
	}
	r := httptest.NewRequestWithContext(ctx, method, "/", http.NoBody)
	r.URL.Path, r.URL.RawQuery = path, query
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	return w
}

// TestWhoseFaultItIs: what has no answer is the asker's fault, on the page and in
// JSON, and said in words.
func TestWhoseFaultItIs(t *testing.T) {
	site := site(t)
	for asked, status := range asks() {
		path, query, _ := strings.Cut(asked, "?")
		w := ask(site, path, query)
		if w.Code != status {
			t.Errorf("%s is answered %d, want %d: %s", asked, w.Code, status, w.Body)
		}
		if failed := (api.Failed{}); strings.HasPrefix(path, "/v1/") && status != http.StatusOK && (json.Unmarshal(w.Body.Bytes(), &failed) != nil || failed.Error == "") {
			t.Errorf("%s is answered %s", asked, w.Body)
		}
	}
}

// FuzzReading: whatever somebody types, there is an answer or a refusal, and none is
// a fault of the agent's.
func FuzzReading(f *testing.F) {
	for asked := range asks() {
		path, query, _ := strings.Cut(asked, "?")
		f.Add(path, query)
	}
	for _, path := range []string{api.EventsRoute, api.LeaseRoute, api.SubnetRoute, api.WhoisRoute, api.LookupRoute, "/events", "/names", "/subnet", "/lease", "/search"} {
		f.Add(path, "network=lan&node=h2&segment=&subnet=::ffff:10.0.0.0/120&at=0.0.0.0/0&address=fe80::1%25eth0&of=%00%ff&name=.&type=AXFR&since=9999-12-31T23:59:59%2B23:59&limit=99999999999999999999&kinds=,")
	}
	site := site(f)
	f.Fuzz(func(t *testing.T, path, query string) {
		w := ask(site, path, query)
		if !slices.Contains([]int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusRequestURITooLong}, w.Code) {
			t.Errorf("%q with %q is answered %d: %s", path, query, w.Code, w.Body)
		}
	})
}
