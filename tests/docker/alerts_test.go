package docker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/cluster/store/etcd"
	"gvlan/tests/lab"
)

// promtool runs it on this machine, with an input, and fails with what it said.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// deployed is a file of deploy.
func deployed(t *testing.T, name string) string {
	t.Helper()
	return string(must(os.ReadFile(filepath.Join("..", "..", "deploy", name)))(t))
}

var alertNames = regexp.MustCompile(`(?m)^ *- alert: (\w+)$`)

// TestAlertRules: each alert fires when it should, not before, and once, by
// Prometheus' own judgement of made-up figures.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool(t, "", "check", "rules", filepath.Join("..", "..", "deploy", "alerts.yaml"))
	promtool(t, "", "test", "rules", filepath.Join("testdata", "alerts.yaml"))
	tested := string(must(os.ReadFile(filepath.Join("testdata", "alerts.yaml")))(t))
	for _, alert := range alertNames.FindAllStringSubmatch(deployed(t, "alerts.yaml"), -1) {
		if strings.Count(tested, `alertname="`+alert[1]+`"`) != 2 {
			t.Errorf("testdata/alerts.yaml does not try %s before and after its fault", alert[1])
		}
	}
}

// TestDashboard: Prometheus can read every query of the dashboard.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(deployed(t, "grafana.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$instance", ".*", "$__rate_interval", "5m").Replace(target.Expr)
			fmt.Fprintf(&rules, "      - {record: 'query:%d', expr: '%s'}\n", queries, strings.ReplaceAll(expr, "'", "''"))
			queries++
		}
	}
	if queries < 20 {
		t.Errorf("the dashboard has %d queries", queries)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
}

// provoked are the alerts whose faults TestAlerts has.
var provoked = []string{
	"AddressConflict", "AgentDown", "EngineDown", "GateClosed", "HostDown", "NamesFail", "ParentDown", "PoolFull", "PoolNearlyFull",
	"ReleasesPending", "StoreUnreachable", "Warns",
}

// hurried are the rules, of which those that are provoked wait for seconds only.
func hurried(rules string) string {
	all := strings.Split(rules, "- alert: Gvlan")
	for i, rule := range all {
		name, _, _ := strings.Cut(rule, "\n")
		switch {
		case !slices.Contains(provoked, name):
			continue
		case name == "EngineDown": // a round comes each 20 s
			rule = strings.NewReplacer("[5m]", "[1m]", "for: 3m", "for: 25s").Replace(rule)
		default:
			rule = regexp.MustCompile(`for: \d+m`).ReplaceAllString(rule, "for: 1s")
			rule = strings.NewReplacer("[5m]", "[15s]", "[10m]", "[15s]").Replace(rule)
		}
		all[i] = rule
	}
	return strings.Join(all, "- alert: Gvlan")
}

// watcher is a Prometheus on the machine beside the hosts, which tells who is told
// of alerts.
type watcher struct {
	*cluster
	told *told
}

// told takes alerts, as an Alertmanager does.
type told struct {
	mu   sync.Mutex
	when map[string]map[time.Time]bool // each began to fire, by its labels
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
		of := fmt.Sprint(alert.Labels)
		if a.when[of] == nil {
			a.when[of] = map[time.Time]bool{}
		}
		a.when[of][alert.StartsAt] = true
	}
}

// once complains of alerts that fired twice, and of those that were provoked and
// are not told of.
func (a *told) once(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	var names strings.Builder
	for alert, when := range a.when {
		names.WriteString(alert)
		if len(when) != 1 {
			t.Errorf("%s fired %d times", alert, len(when))
		}
	}
	for _, name := range provoked {
		if !strings.Contains(names.String(), "alertname:Gvlan"+name+" ") {
			t.Errorf("nobody is told of %s", name)
		}
	}
}

// metricsPort is that of every agent.
const metricsPort = "9640"

// watch starts Prometheus.
func watch(c *cluster) watcher {
	c.t.Helper()
	rules := hurried(deployed(c.t, "alerts.yaml"))
	folder := filepath.Join(c.Dir, "prometheus")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		c.t.Fatal(err)
	}
	var targets []string
	for _, h := range c.Hosts {
		targets = append(targets, fmt.Sprintf("'%s:%s'", h.Addr4, metricsPort))
	}
	config := "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\n" +
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
	w := watcher{c, &told{when: map[string]map[time.Time]bool{}}}
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

// firing lists the alerts that do, each with how many.
func (w watcher) firing() ([]string, error) {
	out, err := w.ask(`count by (alertname) (ALERTS{alertstate="firing"})`)
	var all []string
	for _, found := range regexp.MustCompile(`alertname="Gvlan(\w+)"} => (\d+)`).FindAllStringSubmatch(out, -1) {
		all = append(all, found[1]+" "+found[2])
	}
	slices.Sort(all)
	return all, err
}

// fires waits until exactly these alerts do, each so often.
func (w watcher) fires(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	eventually(w.t, fmt.Sprintf("the alerts %q", want), func() error {
		got, err := w.firing()
		if err == nil && !slices.Equal(got, want) {
			return fmt.Errorf("firing are %q", got)
		}
		return err
	})
}

// TestAlerts: a Prometheus that scrapes agents tells of each fault, once, of nothing
// else, and of nothing any more once it is mended.
func TestAlerts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{hosts: lab.Same(4, lab.Docker20), args: []string{"--metrics-listen", "0.0.0.0:" + metricsPort, "--dns-upstream", "127.0.0.1:9", "--gossip", "on"}})
	c.allReady()
	for _, h := range c.Hosts {
		h.MustExec(t, "ip", "link", "add", "card2", "type", "veth", "peer", "name", "lan2")
		h.MustExec(t, "ip", "link", "set", "lan2", "up")
		h.MustExec(t, "ip", "link", "set", "card2", "up")
	}
	h1, h2 := c.Hosts[0], c.Hosts[1]
	c.network(h1, "lan1", "--subnet", "10.90.0.0/24", "--ip-range", "10.90.0.16/30", "-o", "parent=eth1")
	c.network(h1, "lan2", "--subnet", "10.91.0.0/24", "-o", "parent=card2")
	web := c.run(h2, "lan2", "web")
	page := c.Peer.MustExec(t, "busybox", "wget", "-qO-", fmt.Sprintf("http://%s:%s/metrics", h1.Addr4, metricsPort))
	promtool(t, page+"\n", "check", "metrics")
	w := watch(c)
	w.fires()
	faultsOfHosts(w, web)
	etcdLosesItsPast(w)
	w.told.once(t)
	// The log tells of what lasted: once, and once when it was over.
	c.loggedOn(c.Hosts[2], c.agents[2], `msg="works again" what=engine`)
	c.logged(0, `msg="works again" what=store`)
	if began, over := c.times(`msg="failed, and is tried again" what=store`), c.times(`msg="works again" what=store`); began == 0 || began > 5 || over != 1 {
		t.Errorf("that etcd was away is logged %d times, and its end %d times", began, over)
	}
}

// faultsOfHosts breaks what it can on the four hosts, and mends it.
func faultsOfHosts(w watcher, web netip.Addr) {
	h1, h2, h3 := w.Hosts[0], w.Hosts[1], w.Hosts[2]
	for i := range 4 {
		w.run(h1, "lan1", fmt.Sprint("full", i))
	}
	w.refused(h1, "every address of 10.90.0.16/30 is taken", "run", "--rm", "--network", "lan1", "busybox", "true")
	w.fires("PoolFull 1", "PoolNearlyFull 1")
	if err := h3.Engine.Stop(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.agents[3].Kill(); err != nil {
		w.t.Fatal(err)
	}
	h2.MustExec(w.t, "ip", "link", "set", "card2", "down")
	key := etcd.DefaultPrefix + store.LeaseKey("default", web)
	thief := store.Lease{State: store.Leased, Node: "h9", Nonce: "thief", Endpoint: "thief"}
	if _, err := w.store.Put(w.t.Context(), key, string(store.Encode(thief))); err != nil {
		w.t.Fatal(err)
	}
	stop := w.asksInVain(h1)
	w.fires("AddressConflict 1", "AgentDown 1", "EngineDown 1", "HostDown 1", "NamesFail 1", "ParentDown 1", "PoolNearlyFull 1", "Warns 1")
	stop()
	h2.MustExec(w.t, "ip", "link", "set", "card2", "up")
	w.removeContainers(h2)
	if _, err := w.store.Delete(w.t.Context(), key, clientv3.WithPrevKV()); err != nil {
		w.t.Fatal(err)
	}
	w.removeContainers(h1)
	if err := h3.Engine.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.startAgain(3)
	w.fires()
}

// asksInVain asks the listener of a host for what it cannot tell, until stop.
func (w watcher) asksInVain(h *lab.Host) (stop func()) {
	w.t.Helper()
	script := "while :; do dig +tries=1 +timeout=1 @127.0.0.1 -p 5354 example.com >/dev/null; sleep 0.2; done"
	asking := must(h.Start("dig", nil, "sh", "-c", script))(w.t)
	return func() {
		if err := asking.Kill(); err != nil {
			w.t.Error(err)
		}
	}
}

// etcdLosesItsPast has etcd away, and come back as it was before a container
// started.
func etcdLosesItsPast(w watcher) {
	h1 := w.Hosts[0]
	backup := filepath.Join(w.Dir, "backup.db")
	if err := w.etcd.Backup(w.t.Context(), w.store, backup); err != nil {
		w.t.Fatal(err)
	}
	w.run(h1, "lan1", "kept")
	w.run(h1, "lan1", "gone")
	if err := w.etcd.Stop(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	h1.MustDocker(w.t, "rm", "-f", "gone")
	w.fires("ReleasesPending 1", "StoreUnreachable 4")
	if err := w.etcd.RestoreBackup(backup, 0); err != nil {
		w.t.Fatal(err)
	}
	if err := w.etcd.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.fires("GateClosed 1")
	w.gvlan(h1, "recover")
	w.fires()
}

// TestMetricsOfAMember: a host that keeps the store tells how its members fare, and
// its metrics are served by the agent that begins anew when others may join.
func TestMetricsOfAMember(t *testing.T) {
	t.Parallel()
	c := newOwnCluster(t, options{hosts: lab.Same(1, lab.Docker20), args: []string{"--metrics-listen", "0.0.0.0:" + metricsPort}})
	c.begin(c.Hosts[0])
	c.waitMembers(c.Hosts, 1, 0)
	eventually(t, "the members' figures", func() error {
		page, err := c.Peer.Exec(t.Context(), "busybox", "wget", "-qO-", fmt.Sprintf("http://%s:%s/metrics", c.Hosts[0].Addr4, metricsPort))
		if err != nil {
			return err
		}
		for _, want := range []string{
			`gvlan_store_members{state="answering"} 1`, `gvlan_store_members{state="silent"} 0`, `gvlan_store_looks_total{outcome="done"} [1-9]`,
			`gvlan_store_size_bytes [1-9]`, `gvlan_store_in_use_bytes [1-9]`, `gvlan_store_quota_bytes [1-9]`,
		} {
			if !regexp.MustCompile(`(?m)^` + want).MatchString(page) {
				return fmt.Errorf("no %s", want)
			}
		}
		return nil
	})
	ready, err := c.Peer.Exec(t.Context(), "busybox", "wget", "-qO-", fmt.Sprintf("http://%s:%s/readyz", c.Hosts[0].Addr4, metricsPort))
	if err != nil || ready != "ok store\nok engine\nok parents\nok plugin" {
		t.Errorf("/readyz: %q, %v", ready, err)
	}
}
