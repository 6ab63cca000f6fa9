package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"gvlan/cluster/store"
	"gvlan/cluster/store/storetest"
	"gvlan/driver/engine"
)

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// get asks for a page; 0 while nobody listens.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// TestMetricsOfAnAgent: an agent tells Prometheus how its parts fare, and whoever
// asks whether containers can start, and why not.
func TestMetricsOfAnAgent(t *testing.T) {
	address := freeAddress(t)
	h := startHost(t, storetest.NewMem(), "h1", "--metrics-listen", address)
	page := func(path string) (int, string) { return get(t, "http://"+address+path) }
	eventually(t, "the host is ready", func() bool {
		status, _ := page("/readyz")
		return status == http.StatusOK
	})
	if err := h.plugin.Send(t.Context(), http.MethodPost, "/NetworkDriver.DiscoverNew", struct{}{}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every part is told of", func() bool {
		_, body := page("/metrics")
		for _, line := range []string{
			`gvlan_build_info{go="`, `gvlan_plugin_requests_total{method="NetworkDriver.DiscoverNew",outcome="answered"} 1`,
			`gvlan_plugin_requests_total{method="IpamDriver.RequestAddress",outcome="refused"} 0`,
			`gvlan_store_state{state="trusted"} 1`, "gvlan_store_up 1", `gvlan_nodes{state="ready"} 1`, "gvlan_engine_up 1",
			`gvlan_store_requests_total{operation="commit",outcome="answered"} `, `gvlan_networks{state="made"} 0`,
			`gvlan_leases{state="bound"} 0`, "gvlan_warnings 0", `gvlan_dns_queries_total{rcode="NOERROR",zone="."} 0`,
		} {
			if !strings.Contains(body, "\n"+line) {
				t.Logf("no %s", line)
				return false
			}
		}
		return true
	})
	h.wire.Down()
	h.engine.Fail("Ready", engine.ErrUnavailable)
	eventually(t, "it says that store and engine are away", func() bool {
		status, body := page("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "not ok store: ") && strings.Contains(body, "not ok engine: ") && strings.Contains(body, "\nok plugin\n")
	})
	if status, body := page("/healthz"); status != http.StatusOK {
		t.Errorf("the agent does not live: %d %s", status, body)
	}
	h.stop(t, context.Canceled)
	if status, _ := page("/healthz"); status != 0 {
		t.Error("somebody answers after its end")
	}
}

// TestWithoutParents: a host need not have a parent for each network, but for one
// at least, and for those that its containers are on.
func TestWithoutParents(t *testing.T) {
	has := store.NodeNetwork{Name: "lan", Engine: "1", Parent: "eth0"}
	lacks := store.NodeNetwork{Name: "dmz", Engine: "2", Why: "no eth7"}
	inner := store.NodeNetwork{Name: "inner", Engine: "3"}
	unmade := store.NodeNetwork{Name: "unmade", Why: "the name is taken"}
	for _, c := range []struct {
		name     string
		networks []store.NodeNetwork
		used     bool // the one that lacks a parent
		want     string
	}{
		{"none", nil, false, ""},
		{"well", []store.NodeNetwork{has, inner, unmade}, false, ""},
		{"one that is not used here", []store.NodeNetwork{has, lacks}, false, ""},
		{"one that is used here", []store.NodeNetwork{has, lacks}, true, "network dmz: no eth7"},
		{"no other", []store.NodeNetwork{inner, lacks}, false, "network dmz: no eth7"},
	} {
		got := ""
		if err := withoutParents(c.networks, func(n store.NodeNetwork) bool { return c.used && n.Name == "dmz" }); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
