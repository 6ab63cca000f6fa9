package swarm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"gvlan/cluster/store"
	"gvlan/tests/lab"
)

// pluginUpgraded: the plugin is killed, which Docker starts again, and then
// replaced under its name while networks and tasks are there and etcd is not:
// Docker disables a plugin whose socket does not open at once. What its first
// process left, and no engine knows, is gone soon after.
func pluginUpgraded(c *cluster) {
	h := c.Hosts[1]
	left := c.leaveEndpoint(h)
	before := c.starts(h)
	c.killPlugin(h)
	c.startedSince(h, before)
	before = c.starts(h)
	h.MustDocker(c.t, "plugin", "disable", "-f", alias)
	h.MustDocker(c.t, "plugin", "rm", "-f", alias)
	if err := c.etcd.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.enabledTooSoon(h)
	if err := c.etcd.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.trusts(h, "--swarm")
	c.hasPlugin(h)
	c.update("web", "--force")
	c.settled("web", 12)
	all := must(c.containersOn(h))(c.t)
	i := slices.IndexFunc(all, func(x container) bool { return x.service == "web" })
	if i < 0 {
		c.t.Fatalf("%s runs no task of web after its plugin was replaced", h.Name)
	}
	c.reaches(all[i], c.tasksOf("web")[0].addr.String())
	if got := must(c.store.Get(c.t.Context(), prefix+left, clientv3.WithCountOnly()))(c.t); got.Count > 0 {
		c.t.Errorf("the record %s is left", left)
	}
	if more := c.starts(h) - before; more != 1 {
		c.t.Errorf("the plugin of %s was started %d times since it was enabled, want once", h.Name, more)
	}
}

// enabledTooSoon installs the plugin and enables it before it is told of a
// store: refused. The next enable counts, and its process stays: an engine
// takes the end of a plugin's process that ended by itself for the end of the
// one after it.
func (c *cluster) enabledTooSoon(h *lab.Host) {
	c.t.Helper()
	if err := c.buildPlugin(h, alias); err != nil {
		c.t.Fatal(err)
	}
	if _, err := h.Docker(c.t.Context(), "plugin", "enable", alias); err == nil {
		c.t.Fatal("the plugin is enabled without a store")
	}
	c.logged(h, "--swarm without --etcd-endpoints")
	if err := c.enablePlugin(h); err != nil {
		c.t.Fatal(err)
	}
	if enabled := h.MustDocker(c.t, "plugin", "inspect", "-f", "{{.Enabled}}", alias); enabled != "true" {
		c.t.Errorf("while etcd is away the plugin is enabled: %s", enabled)
	}
}

// starts counts the processes of a host's plugin that began to serve, by their
// lines in the log of dockerd.
func (c *cluster) starts(h *lab.Host) (n int) {
	c.t.Helper()
	for _, path := range must(filepath.Glob(filepath.Join(c.Dir, "log", h.Name+"-dockerd-*.log")))(c.t) {
		n += strings.Count(string(must(os.ReadFile(path))(c.t)), `level=INFO msg=\"agent starts\"`)
	}
	return n
}

// startedSince waits until Docker has started a host's plugin again, and the
// new process has the store.
func (c *cluster) startedSince(h *lab.Host, before int) {
	c.t.Helper()
	eventually(c.t, "the plugin of "+h.Name+" to be started again", func() error {
		if n := c.starts(h); n <= before {
			return fmt.Errorf("it was started %d times", n)
		}
		return nil
	})
	c.trusts(h, "--swarm")
}

// killPlugin ends a plugin's process with SIGKILL.
func (c *cluster) killPlugin(h *lab.Host) {
	c.t.Helper()
	const kill = `for dir in /proc/[0-9]*; do
		case $(tr '\0' ' ' <$dir/cmdline 2>/dev/null) in "/gvlan agent --swarm "*) kill -KILL ${dir#/proc/} && echo killed ;; esac
	done`
	if out := h.MustExec(c.t, "sh", "-c", kill); out != "killed" {
		c.t.Fatalf("the plugin of %s runs as %q, want one process", h.Name, out)
	}
}

// leaveEndpoint has the plugin of a host give an address, an endpoint and a
// link that its engine never hears of, as an engine that is killed within a
// container's start does. It returns the key of the endpoint's record.
func (c *cluster) leaveEndpoint(h *lab.Host) string {
	c.t.Helper()
	const endpoint = "1eaf000000000000000000000000000000000000000000000000000000000000"
	network := h.MustDocker(c.t, "network", "inspect", "-f", "{{.ID}}", "lan")
	pool := c.callPlugin(h, "IpamDriver.RequestPool", map[string]any{"AddressSpace": "gvlan-local", "Pool": "10.88.0.0/24"})
	address := c.callPlugin(h, "IpamDriver.RequestAddress", map[string]any{"PoolID": pool["PoolID"], "Address": ""})
	if _, err := netip.ParsePrefix(fmt.Sprint(address["Address"])); err != nil {
		c.t.Fatalf("asked for an address: %v", address)
	}
	c.callPlugin(h, "NetworkDriver.CreateEndpoint", map[string]any{"NetworkID": network, "EndpointID": endpoint, "Interface": map[string]any{"Address": address["Address"]}})
	c.callPlugin(h, "NetworkDriver.Join", map[string]any{"NetworkID": network, "EndpointID": endpoint, "SandboxKey": "/var/run/docker/netns/1eaf00000000"})
	key := store.EndpointKey(h.Name+".swarm", endpoint)
	if got := must(c.store.Get(c.t.Context(), prefix+key))(c.t); got.Count != 1 || strayLinks(h) == nil {
		c.t.Fatalf("%d records of the endpoint, links: %v; want both", got.Count, strayLinks(h))
	}
	return key
}

// callPlugin calls a host's plugin as its engine does.
func (c *cluster) callPlugin(h *lab.Host, method string, request map[string]any) (answer map[string]any) {
	c.t.Helper()
	folders := must(filepath.Glob(h.Path("/run/docker/plugins/*")))(c.t)
	if len(folders) != 1 {
		c.t.Fatalf("the plugins of %s have the folders %v, want one", h.Name, folders)
	}
	folder := must(os.Open(folders[0]))(c.t)
	defer folder.Close()
	socket := fmt.Sprintf("/proc/self/fd/%d/gvlan.sock", folder.Fd()) // the whole path is too long for a socket's
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	resp := must(client.Post("http://plugin/"+method, "application/json", bytes.NewReader(must(json.Marshal(request))(c.t))))(c.t)
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK || answer["Err"] != nil || answer["Error"] != nil {
		c.t.Fatalf("%s: %s, %v, %v", method, resp.Status, answer, err)
	}
	return answer
}
