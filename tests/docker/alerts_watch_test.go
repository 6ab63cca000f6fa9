package docker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hurry is how the rules are changed for a test that cannot wait for minutes: each
// wait and each span is shorter, and none is shorter than what a rule has to
// outlast.
var hurry = map[string][]string{
	// A scrape of a busy machine may fail.
	"AgentDown":        {"for: 2m", "for: 10s"},
	"StoreUnreachable": {"for: 1m", "for: 5s"},
	"GateClosed":       {},
	"NotThisNode":      {"for: 2m", "for: 2s"},
	"HostDown":         {"for: 2m", "for: 2s"},
	// One that is down is unreachable first: its place in etcd ends after 15 s.
	"HostUnreachable": {"for: 5m", "for: 20s"},
	"PoolNearlyFull":  {"for: 5m", "for: 2s"},
	// All by a factor of 360.
	"PoolFullSoon":    {"[6h]", "[1m]", "86400", "240", "offset 1h", "offset 10s", "for: 30m", "for: 5s"},
	"PoolFull":        {"[10m]", "[30s]"},
	"AddressConflict": {},
	"ParentDown":      {"for: 2m", "for: 2s"},
	"NoParent":        {"for: 5m", "for: 2s"},
	"NetworkNotMade":  {"for: 5m", "for: 10s"},
	"ReleasesPending": {"for: 10m", "for: 10s"},
	// A round comes each 20 s, the first one as long after the start.
	"EngineDown": {"[5m]", "[10s]", "for: 3m", "for: 30s"},
	"PluginSlow": {"[5m]", "[30s]", "for: 10m", "for: 2s"},
	"MirrorLags": {"for: 5m", "for: 2s"},
	// A look comes each 30 s, the first one as long after the start.
	"StoreMemberSilent":   {"for: 2m", "for: 2s"},
	"StoreNotLookedAfter": {"[10m]", "[10s]", "for: 10m", "for: 40s"},
	"StoreFillsUp":        {"for: 10m", "for: 2s"},
	"NamesFail":           {"[5m]", "[15s]", "[5m]", "[15s]", "for: 5m", "for: 2s"},
	// Who is missed is called each 15 s.
	"GossipRefused": {"[5m]", "[40s]", "for: 10m", "for: 2s"},
	// A peer is probed each second, each of them in turn.
	"UDPBlocked": {"[5m]", "[30s]", "for: 10m", "for: 2s"},
	"AuditFound": {"for: 15m", "for: 2s"},
	"Warns":      {"for: 15m", "for: 5s"},
}

// hurried are the rules as they are in a hurry.
func hurried(t *testing.T, rules string) string {
	t.Helper()
	all := strings.Split(rules, "- alert: Gvlan")
	for i, rule := range all[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		changes, known := hurry[name]
		if !known {
			t.Errorf("how is %s hurried?", name)
		}
		for j := 0; j < len(changes); j += 2 {
			if !strings.Contains(rule, changes[j]) {
				t.Errorf("the rule of %s has no %q to hurry", name, changes[j])
			}
			rule = strings.Replace(rule, changes[j], changes[j+1], 1)
		}
		// A scrape that fails ends no alert, and a round of 20 s does.
		all[1+i] = strings.Replace(rule, "        labels:", "        keep_firing_for: 4s\n        labels:", 1)
	}
	return strings.Join(all, "- alert: Gvlan")
}

// watcher is a Prometheus on the machine beside the hosts, and who is told of its
// alerts.
type watcher struct {
	*cluster
	told *told
	want map[string]int // how many are to be told of, by name
}

// told takes alerts, as an Alertmanager does.
type told struct {
	mu   sync.Mutex
	when map[string]map[string]map[time.Time]bool // each began to fire, by its name and all of its labels
}

// ServeHTTP implements http.Handler.
func (a *told) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var alerts []struct {
		Labels   map[string]string
		StartsAt time.Time
	}
	if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, alert := range alerts {
		name, of := strings.TrimPrefix(alert.Labels["alertname"], "Gvlan"), fmt.Sprint(alert.Labels)
		if a.when[name] == nil {
			a.when[name] = map[string]map[time.Time]bool{}
		}
		if a.when[name][of] == nil {
			a.when[name][of] = map[time.Time]bool{}
		}
		a.when[name][of][alert.StartsAt] = true
	}
}

// counts is how many of each name were told of.
func (a *told) counts() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]int{}
	for name, alerts := range a.when {
		all[name] = len(alerts)
	}
	return all
}

// slow is the alert that is true on a machine that is busy with other tests, too:
// there may be more of it than is wanted.
const slow = "PluginSlow"

// once complains of alerts that fired twice, of those that nothing caused, and of
// those that the test is to provoke and does not.
func (w watcher) once() {
	w.t.Helper()
	got := w.told.counts()
	for name := range got {
		if got[name] != w.want[name] && name != slow {
			w.t.Errorf("%d alerts of %s were told of, want %d: %v", got[name], name, w.want[name], slices.Collect(maps.Keys(w.told.when[name])))
		}
	}
	if want, got := slices.Sorted(slices.Values(provoked[w.t.Name()])), slices.Sorted(maps.Keys(w.want)); !slices.Equal(got, want) {
		w.t.Errorf("provoked are %q, want %q", got, want)
	}
	w.told.mu.Lock()
	defer w.told.mu.Unlock()
	for name, alerts := range w.told.when {
		for of, when := range alerts {
			if len(when) != 1 && name != slow {
				w.t.Errorf("%s fired %d times", of, len(when))
			}
		}
	}
}

// metricsPort is that of every agent.
const metricsPort = "9640"

// watch starts Prometheus.
func watch(c *cluster) watcher {
	c.t.Helper()
	rules := hurried(c.t, deployed(c.t, "alerts.yaml"))
	folder := filepath.Join(c.Dir, "prometheus")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		c.t.Fatal(err)
	}
	var targets []string
	for _, h := range c.Hosts {
		targets = append(targets, fmt.Sprintf("'%s:%s'", h.Addr4, metricsPort))
	}
	config := "global: {scrape_interval: 3s, scrape_timeout: 3s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\n" +
		"alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}\n" +
		"scrape_configs: [{job_name: gvlan, static_configs: [{targets: [" + strings.Join(targets, ", ") + "]}]}]\n"
	for name, text := range map[string]string{"rules.yaml": rules, "prometheus.yml": config} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	listener := must(c.Peer.Listen(c.t.Context(), "tcp", "127.0.0.1:9093"))(c.t)
	must(c.Peer.Start("prometheus", nil, "prometheus", "--config.file", filepath.Join(folder, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(folder, "data"), "--web.listen-address", "127.0.0.1:9090"))(c.t)
	w := watcher{c, &told{when: map[string]map[string]map[time.Time]bool{}}, map[string]int{}}
	server := &http.Server{Handler: w.told}
	go func() { _ = server.Serve(listener) }()
	c.t.Cleanup(func() { server.Close() })
	eventually(c.t, "Prometheus to see every agent", func() error {
		up, err := w.ask(`sum(up{job="gvlan"})`)
		if err == nil && up != fmt.Sprint("{} => ", len(c.Hosts)) {
			return fmt.Errorf("it sees %q", up)
		}
		return err
	})
	return w
}

// ask is what Prometheus answers, a series a line, without the time.
func (w watcher) ask(query string) (string, error) {
	out, err := w.Peer.Exec(w.t.Context(), "promtool", "query", "instant", "http://127.0.0.1:9090", query)
	return regexp.MustCompile(` @\[[^]]*\]`).ReplaceAllString(out, ""), err
}

// tells waits until somebody is told of so many alerts, by name, for a fault that
// is there since nobody was.
func (w watcher) tells(want map[string]int) {
	w.t.Helper()
	for name, n := range want {
		w.want[name] += n
	}
	eventually(w.t, "to be told of the faults", func() error {
		got := w.told.counts()
		var missing []error
		for name := range want {
			if got[name] < w.want[name] {
				missing = append(missing, fmt.Errorf("%d alerts of %s, want %d", got[name], name, w.want[name]))
			}
		}
		return errors.Join(missing...)
	})
}

// quiet waits until no alert fires.
func (w watcher) quiet() {
	w.t.Helper()
	eventually(w.t, "all alerts to end", func() error {
		firing, err := w.ask(`ALERTS{alertstate="firing"}`)
		if err == nil && firing != "" {
			return fmt.Errorf("firing are %s", firing)
		}
		return err
	})
}
