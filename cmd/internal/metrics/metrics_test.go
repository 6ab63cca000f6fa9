package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/dns/zone"
	"gvlan/driver/command"
	"gvlan/driver/journal"
	"gvlan/driver/reconcile"
	"gvlan/ipam"
	"gvlan/ipam/mirror"
)

// everything is a host that has all there is to tell.
func everything() Sources {
	now := time.Unix(1_800_000_000, 0)
	asked := &zone.Counts{}
	asked.NoError.Add(7)
	asked.ServFail.Add(2)
	return Sources{
		Now:      func() time.Time { return now },
		Warnings: func() int { return 2 },
		Engine:   func() (int, bool) { return 3, true },
		Rounds:   func() reconcile.Rounds { return reconcile.Rounds{Done: 9, Unanswered: 2, Failed: 1, Endpoints: 4} },
		Progress: func() command.Progress { return command.Progress{Defined: 6, Made: 3, Failed: 1} },
		Describe: func(context.Context) (store.Node, error) {
			return store.Node{
				Interfaces: []store.Interface{{Name: "eth0", Up: true}, {Name: "eth1"}},
				Networks: []store.NodeNetwork{
					{Name: "lan", Engine: "id1", Parent: "eth0"},
					{Name: "dark", Engine: "id2", Parent: "eth1"},
					{Name: "lost", Engine: "id3", Why: "no usable parent"},
					{Name: "inner", Engine: "id4"},
					{Name: "refused", Why: "failed"},
					{Name: "other", Engine: "id7", Parent: "eth0", State: string(journal.StageConflict), Why: "another host defined it first"},
					{Name: "swarm", Engine: "id8", Parent: "eth0", State: string(journal.StageSwarm), Why: "the swarm decides"},
					{Name: "half", State: "failed", Why: "its tombstone cannot be settled"}, {Name: "half", Engine: "id9", Parent: "eth0"},
				},
			}, nil
		},
		Networks: func() []journal.Network {
			return []journal.Network{{ID: "id1", Name: "lan"}, {ID: "id2", Name: "dark"}, {ID: "id5", Name: "lan"}, {ID: "id6", Name: "b\xff"}}
		},
		Endpoints: func() []journal.Endpoint {
			return []journal.Endpoint{{ID: "e1", Network: "id2"}, {ID: "e2", Network: "id2"}}
		},
		Leases: func(which func(journal.Lease) bool) (all []journal.Lease) {
			for _, l := range []journal.Lease{{State: journal.Bound}, {State: journal.Bound}, {State: journal.Releasing}} {
				if which(l) {
					all = append(all, l)
				}
			}
			return all
		},
		Requests: func() ipam.Counts { return ipam.Counts{Given: 11, Full: 1, Withheld: 2, Refused: 3, Raced: 4} },
		Pools: func() []ipam.Usage {
			return []ipam.Usage{
				{Network: "id2", Subnet: netip.MustParsePrefix("10.0.0.0/24"), Usage: mirror.Usage{Used: 5, Resting: 1, Free: 248}},
				{Network: "other driver's", Subnet: netip.MustParsePrefix("10.1.0.0/24")},
			}
		},
		Pending:   func() int { return 1 },
		Conflicts: func() []ipam.Conflict { return make([]ipam.Conflict, 2) },
		Trusted:   func() error { return fmt.Errorf("the gate: %w", store.ErrSuspect) },
		Seen:      func() store.Revision { return 120 },
		Known: func() gossip.Known {
			return gossip.Known{Fresh: true, Heard: now.Add(-90 * time.Second), Revision: 100}
		},
		Members: func() Members {
			return Members{Answering: 2, Silent: 1, Size: 300, InUse: 200, Quota: 1000, Looked: 8, Failed: 1}
		},
		Nodes: func() []cluster.Row {
			return []cluster.Row{{State: cluster.Ready}, {State: cluster.Ready}, {State: cluster.Down}, {State: cluster.Down, Stopped: true}}
		},
		Answering: func() int { return 2 },
		Gossip: func() gossip.Counters {
			return gossip.Counters{RefusedKey: 1, RefusedCluster: 2, RefusedNode: 3, Conflicts: 4, UDPBlocked: 5, Dropped: 6, Joins: 7, Flaps: 8}
		},
		Zones: func() []zone.ZoneCounts { return []zone.ZoneCounts{{Zone: "lan", Counts: asked}} },
	}
}

// told is all that a scrape of such a host says, as "name{labels} value".
func told(t *testing.T, m *Metrics) (scraped []*dto.MetricFamily, series map[string]float64) {
	t.Helper()
	scraped, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series = map[string]float64{}
	for _, f := range scraped {
		for _, one := range f.GetMetric() {
			var labels []string
			for _, l := range one.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			value := one.GetGauge().GetValue() + one.GetCounter().GetValue() + float64(one.GetHistogram().GetSampleCount())
			series[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return scraped, series
}

func full(t *testing.T) *Metrics {
	t.Helper()
	m := New("v1")
	m.Collect(everything())
	m.Called("NetworkDriver.Join", 20*time.Millisecond, nil)
	m.Called("NetworkDriver.Join", time.Second, errors.New("no"))
	m.Audited(map[string]int{"lease": 3, "node": 1}, nil)
	m.Audited(map[string]int{"lease": 2}, nil)
	m.Audited(nil, errors.New("etcd is away"))
	if _, _, err := m.Store(storetest.NewMem()).List(t.Context(), store.NodesSpan()); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTable: what a scrape tells is what table.go says there is: no metric more or
// less, and each with its type and labels.
func TestTable(t *testing.T) {
	scraped, _ := told(t, full(t))
	var got, want []string
	for _, f := range scraped {
		if !strings.HasPrefix(f.GetName(), "gvlan_") {
			continue
		}
		labels := []string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got = append(got, fmt.Sprintf("%s %s %v %s", f.GetName(), strings.ToLower(f.GetType().String()), labels, f.GetHelp()))
	}
	for _, f := range families {
		labels := slices.Sorted(slices.Values(f.labels))
		want = append(want, fmt.Sprintf("%s %s %v %s", f.name, f.kind, labels, f.help))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-table.go +scrape):\n%s", diff)
	}
}

// TestScrape: what each of the parts knows arrives under its name.
func TestScrape(t *testing.T) {
	_, got := told(t, full(t))
	for series, want := range map[string]float64{
		"gvlan_build_info{go=" + runtime.Version() + ",version=v1}": 1,
		"gvlan_warnings{}":                                                       2,
		"gvlan_engine_up{}":                                                      1,
		"gvlan_engine_absences_total{}":                                          3,
		"gvlan_reconcile_rounds_total{outcome=unanswered}":                       2,
		"gvlan_reconcile_freed_total{kind=endpoint}":                             4,
		"gvlan_networks{state=waiting}":                                          2,
		"gvlan_network_parent_up{network=lan,parent=eth0}":                       1,
		"gvlan_network_parent_up{network=dark,parent=eth1}":                      0,
		"gvlan_network_parent_up{network=lost,parent=}":                          0,
		"gvlan_network_usable{network=lan}":                                      1,
		"gvlan_network_usable{network=inner}":                                    1,
		"gvlan_network_usable{network=lost}":                                     0,
		"gvlan_network_usable{network=other}":                                    0,
		"gvlan_network_usable{network=half}":                                     0,
		"gvlan_endpoints{network=dark}":                                          2,
		"gvlan_endpoints{network=lan}":                                           0,
		"gvlan_endpoints{network=b?}":                                            0,
		"gvlan_leases{state=bound}":                                              2,
		"gvlan_leases{state=given}":                                              0,
		"gvlan_pool_addresses{network=dark,state=free,subnet=10.0.0.0/24}":       248,
		"gvlan_address_requests_total{outcome=withheld}":                         2,
		"gvlan_address_races_total{}":                                            4,
		"gvlan_address_conflicts{}":                                              2,
		"gvlan_releases_pending{}":                                               1,
		"gvlan_store_state{state=suspect}":                                       1,
		"gvlan_store_state{state=trusted}":                                       0,
		"gvlan_store_up{}":                                                       1,
		"gvlan_mirror_age_seconds{}":                                             90,
		"gvlan_mirror_lag_revisions{}":                                           20,
		"gvlan_store_members{state=silent}":                                      1,
		"gvlan_store_looks_total{outcome=done}":                                  8,
		"gvlan_store_in_use_bytes{}":                                             200,
		"gvlan_nodes{state=ready}":                                               2,
		"gvlan_nodes{state=down}":                                                1,
		"gvlan_nodes{state=stopped}":                                             1,
		"gvlan_nodes{state=evicted}":                                             0,
		"gvlan_gossip_refused_total{reason=node}":                                3,
		"gvlan_dns_queries_total{rcode=SERVFAIL,zone=lan}":                       2,
		"gvlan_plugin_requests_total{method=NetworkDriver.Join,outcome=refused}": 1,
		"gvlan_plugin_request_duration_seconds{method=NetworkDriver.Join}":       2,
		"gvlan_store_requests_total{operation=list,outcome=answered}":            1,
		"gvlan_audits_total{outcome=done}":                                       2,
		"gvlan_audits_total{outcome=failed}":                                     1,
		"gvlan_audit_findings{kind=lease}":                                       2,
	} {
		if value, there := got[series]; !there || value != want {
			t.Errorf("%s is %v (there: %v), want %v", series, value, there, want)
		}
	}
	if n, there := got["gvlan_audit_findings{kind=node}"]; there {
		t.Errorf("%v findings of an audit before the last are told", n)
	}
	for _, none := range []string{"network=inner", "network=refused", "10.1.0.0/24"} {
		for series := range got {
			if strings.Contains(series, none) && (strings.HasPrefix(series, "gvlan_network_parent_up") || strings.HasPrefix(series, "gvlan_pool")) {
				t.Errorf("%s is told", series)
			}
		}
	}
}

// TestNothingToTell: parts that are not there, and such as know nothing yet, make
// no figures.
func TestNothingToTell(t *testing.T) {
	m := New("v1")
	m.Collect(Sources{
		Now: time.Now, Known: func() gossip.Known { return gossip.Known{} }, Members: func() Members { return Members{} },
		Describe: func(context.Context) (store.Node, error) { return store.Node{}, errors.New("no netlink") },
	})
	_, got := told(t, m)
	for _, none := range []string{"gvlan_mirror_age_seconds{}", "gvlan_store_members{state=answering}", "gvlan_store_size_bytes{}", "gvlan_engine_up{}"} {
		if _, there := got[none]; there {
			t.Errorf("%s is told", none)
		}
	}
	if up, there := got["gvlan_store_up{}"]; !there || up != 0 {
		t.Errorf("gvlan_store_up is %v (there: %v), want 0", up, there)
	}
}

// TestCountersBeginAtZero: Prometheus sees no rise in a counter that was not there
// before.
func TestCountersBeginAtZero(t *testing.T) {
	m := New("v1")
	m.Expect([]string{"NetworkDriver.Join"})
	_, got := told(t, m)
	for _, series := range []string{
		"gvlan_plugin_requests_total{method=NetworkDriver.Join,outcome=answered}",
		"gvlan_plugin_requests_total{method=NetworkDriver.Join,outcome=refused}",
		"gvlan_store_requests_total{operation=commit,outcome=unanswered}",
		"gvlan_store_requests_total{operation=watch,outcome=refused}",
		"gvlan_audits_total{outcome=done}", "gvlan_audits_total{outcome=failed}",
	} {
		if n, there := got[series]; !there || n != 0 {
			t.Errorf("%s is %v (there: %v), want 0", series, n, there)
		}
	}
}

// TestGaugesHaveCounters: a gauge that reads well while nobody looks has a counter
// beside it that then stands still.
func TestGaugesHaveCounters(t *testing.T) {
	for _, f := range families {
		switch {
		case f.name == "gvlan_build_info":
		case f.kind == gauge && named(f.beside).kind != counter:
			t.Errorf("%s has no counter beside it: %q", f.name, f.beside)
		case f.kind != gauge && f.beside != "":
			t.Errorf("%s is no gauge, and has %s beside it", f.name, f.beside)
		}
	}
}

// TestStoreRequests: every way a request to the store ends is counted.
func TestStoreRequests(t *testing.T) {
	m := New("v1")
	wire := storetest.NewWire(storetest.NewMem())
	kv := m.Store(wire)
	ctx := t.Context()
	if _, err := kv.Get(ctx, "/none"); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := kv.Commit(ctx, store.Txn{Then: []store.Op{store.Put("/a", []byte("{}"))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Scan(ctx, store.Span{From: "/", To: "0"}, store.KeysOnly, func([]store.Item) error { return errors.New("enough") }); err == nil {
		t.Fatal("a scan that its reader ends does not fail")
	}
	lease, err := kv.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Revoke(ctx, lease); err != nil {
		t.Fatal(err)
	}
	for range kv.Watch(ctx, store.Span{From: "/", To: "0"}, 0) {
		break
	}
	wire.Down()
	if _, err := kv.Get(ctx, "/a"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	_, got := told(t, m)
	want := map[string]float64{
		"get,outcome=answered": 1, "get,outcome=unanswered": 1, "commit,outcome=answered": 1, "scan,outcome=refused": 1,
		"grant,outcome=answered": 1, "revoke,outcome=answered": 1, "watch,outcome=answered": 1,
	}
	counted := map[string]float64{}
	for series, n := range got {
		if rest, ok := strings.CutPrefix(series, "gvlan_store_requests_total{operation="); ok && n > 0 {
			counted[strings.TrimSuffix(rest, "}")] = n
		}
	}
	if diff := cmp.Diff(want, counted); diff != "" {
		t.Errorf("store requests (-want +got):\n%s", diff)
	}
}

// TestDocuments: deploy/metrics.md has the table, as this test writes it.
func TestDocuments(t *testing.T) {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		help := f.help
		if f.beside != "" {
			help += "; whether it is looked at: `" + f.beside + "`"
		}
		labels := ""
		if len(f.labels) > 0 {
			labels = "`" + strings.Join(f.labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, f.kind, labels, help)
	}
	if !strings.Contains(deployed(t, "metrics.md"), b.String()) {
		t.Errorf("deploy/metrics.md lacks the table of metrics; put in:\n%s", b.String())
	}
}

// TestDashboardAndAlerts: what they ask for exists. promtool, which a suite of the
// lab runs, knows PromQL and not which metrics there are.
func TestDashboardAndAlerts(t *testing.T) {
	asked := regexp.MustCompile(`gvlan_[a-z0-9_]+`)
	used := map[string]bool{}
	for _, file := range []string{"grafana.json", "alerts.yaml"} {
		for _, name := range asked.FindAllString(deployed(t, file), -1) {
			of := name
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				if whole := strings.TrimSuffix(name, part); whole != name && named(whole).kind == histogram {
					of = whole
				}
			}
			if used[of] = true; named(of).name == "" {
				t.Errorf("deploy/%s asks for %s, which there is not", file, name)
			}
		}
	}
	if len(used) < len(families)*2/3 {
		t.Errorf("dashboard and alerts use %d of %d metrics", len(used), len(families))
	}
}

func deployed(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask is what a server answers.
func ask(t *testing.T, s *Server, path string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestServer(t *testing.T) {
	well := func(context.Context) error { return nil }
	s := &Server{Metrics: full(t), Live: well, Log: slog.New(slog.DiscardHandler)}
	s.Ready = []Check{{"store", well}, {"engine", func(context.Context) error { return errors.New("it is\naway\x1b[2J") }}}
	if status, body := ask(t, s, "/healthz"); status != 200 || body != "ok plugin\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, body := ask(t, s, "/readyz"); status != 503 || body != "ok store\nnot ok engine: it is; away\\u001b[2J\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, body := ask(t, s, "/metrics"); status != 200 || !strings.Contains(body, `gvlan_pool_addresses{network="dark",state="used",subnet="10.0.0.0/24"} 5`) || !strings.Contains(body, "go_goroutines ") {
		t.Errorf("/metrics: %d %q", status, body)
	}
	if status, _ := ask(t, s, "/debug/pprof/"); status != 404 {
		t.Errorf("profiles are served unasked: %d", status)
	}
	s.Ready, s.Profile, s.Live = s.Ready[:1], true, func(context.Context) error { return errors.New("the socket is gone") }
	if status, body := ask(t, s, "/readyz"); status != 200 || body != "ok store\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, body := ask(t, s, "/healthz"); status != 503 || body != "not ok plugin: the socket is gone\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, body := ask(t, s, "/debug/pprof/"); status != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("/debug/pprof/: %d", status)
	}
}

// TestNoNameIsASeries: whatever a network, a parent or a zone is called, there are as
// many lines as otherwise, and what it is called is in its label.
func TestNoNameIsASeries(t *testing.T) {
	scrape := func(name string) string {
		of := everything()
		of.Networks = func() []journal.Network { return []journal.Network{{ID: "id2", Name: name}} }
		of.Describe = func(context.Context) (store.Node, error) {
			return store.Node{Interfaces: []store.Interface{{Name: name, Up: true}}, Networks: []store.NodeNetwork{{Name: name, Engine: "id2", Parent: name}}}, nil
		}
		zones := of.Zones()
		zones[0].Zone = name
		of.Zones = func() []zone.ZoneCounts { return zones }
		m := New("v1")
		m.Collect(of)
		status, body := ask(t, &Server{Metrics: m, Log: slog.New(slog.DiscardHandler)}, "/metrics")
		if status != http.StatusOK {
			t.Fatalf("with %q: %d", name, status)
		}
		var ours strings.Builder
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "go_") || strings.HasPrefix(line, "process_") { // other at each scrape
				continue
			}
			ours.WriteString(line)
		}
		return ours.String()
	}
	const word = "zqword"
	plain := scrape(word)
	if got := strings.Count(plain, word); got < 5 {
		t.Fatalf("a name is told %d times: this test does not see it", got)
	}
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`) // text format of Prometheus
	for _, name := range []string{
		`x"} 1`, "x\ngvlan_store_up 0", "x\r\n# TYPE y counter", `x\`, `x\"`, `x\n`, "x{y=\"z\"}", "# HELP", "\x00", "\x1b[2J", "\u2028", "é中", strings.Repeat("n", 300), " ",
	} {
		if got, want := scrape(name), strings.ReplaceAll(plain, `"`+word+`"`, `"`+escape.Replace(name)+`"`); sorted(got) != sorted(want) {
			t.Errorf("with %q:\n%s", name, cmp.Diff(sorted(want), sorted(got)))
		}
	}
}

// sorted are the lines of a text in order.
func sorted(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

// BenchmarkScrape is a scrape of a host with 10,000 leases and 1,000 networks, in a
// cluster of 200 nodes.
func BenchmarkScrape(b *testing.B) {
	of := everything()
	var networks []journal.Network
	var pools []ipam.Usage
	var endpoints []journal.Endpoint
	var leases []journal.Lease
	for i := range 1000 {
		id := fmt.Sprint("id", i)
		networks = append(networks, journal.Network{ID: id, Name: fmt.Sprint("lan", i)})
		pools = append(pools, ipam.Usage{Network: id, Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)})
	}
	for i := range 10_000 {
		endpoints = append(endpoints, journal.Endpoint{ID: fmt.Sprint("e", i), Network: networks[i%1000].ID})
		leases = append(leases, journal.Lease{State: journal.Bound})
	}
	rows := make([]cluster.Row, 200)
	for i := range rows {
		rows[i].State = cluster.Ready
	}
	of.Networks, of.Endpoints, of.Pools = func() []journal.Network { return networks }, func() []journal.Endpoint { return endpoints }, func() []ipam.Usage { return pools }
	of.Leases, of.Nodes = func(func(journal.Lease) bool) []journal.Lease { return leases }, func() []cluster.Row { return rows }
	m := New("v1")
	m.Collect(of)
	s := &Server{Metrics: m, Log: slog.New(slog.DiscardHandler)}
	handler := s.handler()
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			b.Fatal(w.Body.String())
		}
	}
}
