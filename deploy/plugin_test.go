package deploy

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pluginConfig is what deploy/plugin/config.json says, in the words of
// Docker's plugin config version 1.
type pluginConfig struct {
	Entrypoint []string
	Interface  struct {
		Types  []string
		Socket string
	}
	Network struct{ Type string }
	PidHost bool
	Linux   struct{ Capabilities []string }
	Mounts  []struct {
		Source, Destination string
		Options             []string
	}
	Env []struct {
		Name, Value string
		Settable    []string
	}
}

func readPlugin(t *testing.T) (c pluginConfig) {
	t.Helper()
	raw, err := os.ReadFile("plugin/config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPluginSettings: what a node needs of its own can be set, and every
// setting is one of the agent's.
func TestPluginSettings(t *testing.T) {
	settings, err := os.ReadFile("../cmd/gvlan/README.md")
	if err != nil {
		t.Fatal(err)
	}
	settable := map[string]string{}
	for _, e := range readPlugin(t).Env {
		if !strings.Contains(string(settings), "| `"+e.Name+"` |") {
			t.Errorf("%s is no setting of the agent: the table of cmd/gvlan/README.md has none of that name", e.Name)
		}
		if slices.Equal(e.Settable, []string{"value"}) {
			settable[e.Name] = e.Value
		}
	}
	for name, preset := range map[string]string{
		"GVLAN_ETCD_ENDPOINTS": "", "GVLAN_ETCD_CA": "", "GVLAN_ETCD_CERT": "", "GVLAN_ETCD_KEY": "",
		"GVLAN_WEB_LISTEN": "", "GVLAN_WEB_CERT": "", "GVLAN_WEB_KEY": "", "GVLAN_WEB_PASSWORD_FILE": "", "GVLAN_WEB_PROXY_HEADER": "", "GVLAN_WEB_PROXY_FROM": "",
		"GVLAN_NODE_NAME": "", "GVLAN_LOG_LEVEL": "info", "GVLAN_DATA_DIR": "/var/lib/gvlan-swarm",
	} {
		if got, ok := settable[name]; !ok || got != preset {
			t.Errorf("%s: settable %t, preset %q; want it settable, preset %q", name, ok, got, preset)
		}
	}
}

// TestPluginReachesTheHost: it is both drivers, on the host's network and
// among its processes, and sees the engine's socket also after dockerd made
// another one.
func TestPluginReachesTheHost(t *testing.T) {
	c := readPlugin(t)
	if diff := cmp.Diff([]string{"docker.networkdriver/1.0", "docker.ipamdriver/1.0"}, c.Interface.Types); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/gvlan", "agent", "--swarm"}, c.Entrypoint); diff != "" {
		t.Errorf("entrypoint (-want +got):\n%s", diff)
	}
	if c.Network.Type != "host" || !c.PidHost {
		t.Errorf("network %s, host's processes %t", c.Network.Type, c.PidHost)
	}
	for _, capability := range []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_SYS_PTRACE"} {
		if !slices.Contains(c.Linux.Capabilities, capability) {
			t.Errorf("%s is missing", capability)
		}
	}
	want := map[string][]string{"/run": {"rbind", "rslave"}, "/etc/machine-id": {"bind", "ro"}}
	got := map[string][]string{}
	for _, m := range c.Mounts {
		if m.Source == m.Destination {
			got[m.Source] = m.Options
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}
