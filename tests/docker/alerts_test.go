package docker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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

var alertNames = regexp.MustCompile(`(?m)^ *- alert: Gvlan(\w+)$`)

// provoked are the alerts that a real Prometheus is seen to tell of, by the test
// that has their faults.
var provoked = map[string][]string{
	"TestAlerts": {
		"AddressConflict", "AgentDown", "AuditFound", "EngineDown", "GateClosed", "GossipRefused", "HostDown", "HostUnreachable", "MirrorLags",
		"NamesFail", "NetworkNotMade", "NoParent", "NotThisNode", "ParentDown", "PluginSlow", "PoolFull", "PoolFullSoon", "PoolNearlyFull",
		"ReleasesPending", "StoreUnreachable", "UDPBlocked", "Warns",
	},
	"TestAlertsOfTheStore": {"StoreMemberSilent", "StoreNotLookedAfter", "StoreUnreachable"},
}

// unprovoked are the alerts that no real agent is seen to cause, and why not.
var unprovoked = map[string]string{
	"StoreFillsUp": "a member's quota is etcd's own, 2 GiB: to fill it takes 5 GiB of the lab's memory (database, log and the log's end in memory)",
}

// TestEachAlertIsProvoked: what is in the rules is provoked, or it is said why it
// is not; and there is nothing else.
func TestEachAlertIsProvoked(t *testing.T) {
	t.Parallel()
	known := map[string]int{}
	for _, names := range provoked {
		for _, name := range names {
			known[name] = 1
		}
	}
	for name, why := range unprovoked {
		known[name]++
		if why == "" {
			t.Errorf("why is %s not provoked?", name)
		}
	}
	for _, rule := range alertNames.FindAllStringSubmatch(deployed(t, "alerts.yaml"), -1) {
		if known[rule[1]] != 1 {
			t.Errorf("%s is %d times among what is provoked and what is not, want once", rule[1], known[rule[1]])
		}
		delete(known, rule[1])
	}
	for name := range known {
		t.Errorf("there is no alert %s", name)
	}
}

// TestAlertRules: each alert fires when it should, not before, and once, by
// Prometheus' own judgement of made-up figures.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool(t, "", "check", "rules", filepath.Join("..", "..", "deploy", "alerts.yaml"))
	promtool(t, "", "test", "rules", filepath.Join("testdata", "alerts.yaml"))
	tested := string(must(os.ReadFile(filepath.Join("testdata", "alerts.yaml")))(t))
	for _, alert := range alertNames.FindAllStringSubmatch(deployed(t, "alerts.yaml"), -1) {
		if strings.Count(tested, `alertname="Gvlan`+alert[1]+`"`) != 2 {
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
