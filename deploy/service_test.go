// Package deploy holds what is installed beside the binary. It has no code;
// its tests read the files as their users do.
package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

// defaultBootWait is the default of --boot-wait, which gvlan.toml states and
// a test of the command holds it to.
const defaultBootWait = 90 * time.Second

func TestServiceKeepsDockersPromises(t *testing.T) {
	keys := readUnit(t)
	exact := map[string][]string{
		"Unit/Before":                {"docker.service"},
		"Unit/StartLimitIntervalSec": {"0"},
		"Service/Type":               {"notify"},
		"Service/Restart":            {"always"},
		"Service/RestartKillSignal":  {"SIGUSR1"},
		"Service/ExecStart":          {"/usr/bin/gvlan agent"},
		// /run/gvlan/swarm.sock is a managed plugin's.
		"Service/RuntimeDirectoryPreserve": {"yes"},
		"Install/WantedBy":                 {"docker.service multi-user.target"},
	}
	for key, want := range exact {
		if got := keys[key]; !slices.Equal(got, want) {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if d := duration(t, keys, "Service/RestartSec"); d > time.Second {
		t.Errorf("RestartSec is %s; calls of Docker wait for the agent, so it is back within a second", d)
	}
	if d := duration(t, keys, "Service/TimeoutStartSec"); d <= defaultBootWait {
		t.Errorf("TimeoutStartSec is %s, which ends a start that still waits for etcd (%s)", d, defaultBootWait)
	}
	if d := duration(t, keys, "Service/WatchdogSec"); d <= 0 {
		t.Errorf("WatchdogSec is %s: a stuck agent would stay", d)
	}
}

// TestServiceReachesNamespaces: the capabilities are there, and nothing in
// the unit hides from the agent what Docker mounts and what it reads of
// processes. TestService of tests/docker sees the rest on a running unit.
func TestServiceReachesNamespaces(t *testing.T) {
	keys := readUnit(t)
	bounding := strings.Fields(strings.Join(keys["Service/CapabilityBoundingSet"], " "))
	for _, capability := range []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_NET_RAW"} {
		if !slices.Contains(bounding, capability) {
			t.Errorf("CapabilityBoundingSet lacks %s", capability)
		}
	}
	families := strings.Fields(strings.Join(keys["Service/RestrictAddressFamilies"], " "))
	for _, family := range []string{"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"} {
		if !slices.Contains(families, family) {
			t.Errorf("RestrictAddressFamilies lacks %s", family)
		}
	}
	if got := keys["Service/RestrictNamespaces"]; !slices.Equal(got, []string{"net"}) {
		t.Errorf("RestrictNamespaces is %q, want net alone, which the agent enters", got)
	}
	// systemd.exec(5): each of these puts the service into another network or
	// user namespace, keeps mounts of the host from it, or hides processes.
	hiding := []string{"PrivateNetwork", "NetworkNamespacePath", "PrivateUsers", "MountFlags", "ProtectProc", "ProcSubset",
		"PrivateTmp", "InaccessiblePaths", "TemporaryFileSystem", "RootDirectory", "RootImage", "DynamicUser", "User"}
	for _, name := range hiding {
		if value, set := keys["Service/"+name]; set {
			t.Errorf("%s=%s keeps from the agent what it needs", name, value)
		}
	}
}

// exposure is what systemd 252 gives the unit, in tenths, as deploy/README.md
// says; another release may count other settings.
const exposure = 31

func TestServiceIsLittleExposed(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("no systemd-analyze here")
		return
	}
	out, err := exec.Command(analyze, "security", "--offline=true", fmt.Sprintf("--threshold=%d", exposure), "gvlan.service").CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security, with a limit of %d: %v\n%s", exposure, err, out)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if said := fmt.Sprintf("%d.%d", exposure/10, exposure%10); !strings.Contains(string(readme), said) {
		t.Errorf("README.md does not say that the exposure is %s", said)
	}
}

// TestServiceVerifies lets systemd itself look for unknown keys and bad
// values, where its tool is installed.
func TestServiceVerifies(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("no systemd-analyze here: only the keys above were checked")
		return
	}
	text := strings.ReplaceAll(string(readFile(t)), "/usr/bin/gvlan", "/bin/true") // it must exist
	path := filepath.Join(t.TempDir(), "gvlan.service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// It exits with 0 also after it complained about an unknown key.
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func readFile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("gvlan.service")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// readUnit returns the values of each "Section/Key".
func readUnit(t *testing.T) map[string][]string {
	t.Helper()
	options, err := unit.DeserializeOptions(strings.NewReader(string(readFile(t))))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]string{}
	for _, o := range options {
		key := o.Section + "/" + o.Name
		keys[key] = append(keys[key], o.Value)
	}
	return keys
}

// duration reads a single time span with a unit Go knows too.
func duration(t *testing.T, keys map[string][]string, key string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(strings.Join(keys[key], " "))
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return d
}
