package tests

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "gvlan"

// arrows says which packages of ours each package may import. Data flows one
// way: Docker -> driver and ipam -> store -> watch -> dns, replicas.
// A new arrow is a change of the design: make it there first, then here.
// Packages under tests, and test files anywhere, may import everything.
var arrows = map[string][]string{
	"cmd/gvlan":                    {"cmd/internal/agent", "cmd/internal/cli", "cmd/internal/config"},
	"cmd/internal/agent":           {"cluster", "cluster/description", "cluster/events", "cluster/gossip", "cluster/store", "cluster/store/backup", "cluster/store/etcd", "cluster/store/group", "cluster/store/hosting", "cluster/store/session", "cmd/internal/answer", "cmd/internal/api", "cmd/internal/config", "cmd/internal/datadir", "cmd/internal/metrics", "cmd/internal/systemd", "cmd/internal/terminal", "cmd/internal/web", "cmd/internal/web/door", "dns/listen", "dns/sandbox", "dns/update", "dns/zone", "driver", "driver/arp", "driver/bgp", "driver/engine", "driver/host", "driver/journal", "driver/journal/disk", "driver/link", "driver/netns", "driver/oui", "driver/plugin", "driver/route", "driver/trouble", "ipam", "ipam/evict", "ipam/node", "ipam/pool", "parentfile"},
	"cmd/internal/answer":          {"cluster", "cluster/description", "cluster/events", "cluster/gossip", "cluster/store", "cluster/store/authority", "cluster/store/care", "cluster/store/etcd", "cluster/store/hosting", "cluster/store/join", "cluster/store/members", "cluster/store/session", "cmd/internal/api", "cmd/internal/config", "dns/listen", "dns/zone", "driver", "driver/bgp", "driver/bgp/peer", "driver/command", "driver/engine", "driver/host", "driver/hostroute", "driver/journal", "driver/link", "driver/option", "driver/visible", "ipam", "ipam/addrset", "ipam/audit", "ipam/conflict", "ipam/evict", "ipam/pool", "ipam/reserve", "ipam/survey"},
	"cmd/internal/api":             {"cluster", "cluster/gossip", "cluster/store", "cmd/internal/config", "dns/zone", "driver/journal", "driver/socket", "ipam/reserve", "ipam/survey"},
	"cmd/internal/cli":             {"cluster/store", "cmd/internal/cli/frame", "cmd/internal/cli/health", "cmd/internal/cli/leases", "cmd/internal/cli/names", "cmd/internal/cli/networks", "cmd/internal/cli/nodes", "cmd/internal/cli/stores", "cmd/internal/cli/web", "cmd/internal/config", "driver/option"},
	"cmd/internal/cli/clitest":     {"cmd/internal/api", "cmd/internal/cli/frame"},
	"cmd/internal/cli/frame":       {"cmd/internal/api", "cmd/internal/config", "cmd/internal/terminal", "ipam/pool"},
	"cmd/internal/cli/health":      {"cluster", "cluster/events", "cmd/internal/api", "cmd/internal/cli/frame", "cmd/internal/config", "cmd/internal/datadir", "cmd/internal/doctor", "cmd/internal/support", "cmd/internal/terminal", "driver/cleanup", "driver/link", "driver/netns", "driver/route", "ipam/pool"},
	"cmd/internal/cli/leases":      {"cmd/internal/api", "cmd/internal/cli/frame", "cmd/internal/config", "cmd/internal/facts", "cmd/internal/terminal", "driver/visible", "ipam/reserve", "ipam/survey"},
	"cmd/internal/cli/names":       {"cmd/internal/api", "cmd/internal/cli/frame", "cmd/internal/config", "cmd/internal/terminal", "dns/listen"},
	"cmd/internal/cli/networks":    {"cluster/store", "cmd/internal/api", "cmd/internal/cli/frame", "cmd/internal/config", "cmd/internal/facts", "cmd/internal/terminal", "driver/command", "driver/engine", "driver/network", "driver/option", "ipam/pool"},
	"cmd/internal/cli/nodes":       {"cluster/store", "cmd/internal/api", "cmd/internal/cli/frame", "cmd/internal/config", "cmd/internal/facts", "cmd/internal/terminal", "ipam/evict"},
	"cmd/internal/cli/stores":      {"cluster/store", "cluster/store/backup", "cmd/internal/api", "cmd/internal/cli/frame", "cmd/internal/cli/health", "cmd/internal/config", "cmd/internal/secretfile", "cmd/internal/terminal"},
	"cmd/internal/cli/web":         {"cmd/internal/api", "cmd/internal/cli/frame", "cmd/internal/config", "cmd/internal/web/door"},
	"cmd/internal/config":          {"cluster/store/authority", "cmd/internal/secretfile", "driver/bgp/peer", "ipam/pool", "parentfile"},
	"cmd/internal/datadir":         {},
	"cmd/internal/doctor":          {"cluster/gossip", "cluster/store", "cmd/internal/api", "cmd/internal/config", "cmd/internal/doctor/firewall", "cmd/internal/secretfile", "driver/engine", "driver/link", "driver/netns", "driver/option", "parentfile"},
	"cmd/internal/doctor/firewall": {},
	"cmd/internal/facts":           {"cluster", "cluster/store", "cmd/internal/api", "cmd/internal/config", "cmd/internal/terminal", "driver/visible", "ipam/pool", "ipam/survey"},
	"cmd/internal/listen":          {"cluster/store"},
	"cmd/internal/metrics":         {"cluster", "cluster/gossip", "cluster/store", "cluster/store/session", "cmd/internal/listen", "dns/zone", "driver/command", "driver/journal", "driver/reconcile", "driver/visible", "ipam"},
	"cmd/internal/secretfile":      {},
	"cmd/internal/support":         {"cmd/internal/api", "cmd/internal/config", "cmd/internal/doctor", "driver/engine"},
	"cmd/internal/systemd":         {},
	"cmd/internal/terminal":        {"driver/visible"},
	"cmd/internal/web":             {"cluster", "cluster/events", "cluster/gossip", "cluster/store", "cmd/internal/api", "cmd/internal/facts", "cmd/internal/terminal", "driver/option", "driver/visible", "ipam/pool", "ipam/survey"},
	"cmd/internal/web/door":        {"cmd/internal/listen", "cmd/internal/secretfile", "cmd/internal/web"},
	"cmd/manual":                   {"cmd/internal/cli"},

	"driver":                   {"cluster/store", "driver/command", "driver/endpoint", "driver/engine", "driver/fixed", "driver/host", "driver/hostaccess", "driver/hostroute", "driver/network", "driver/publish", "driver/reconcile"},
	"driver/arp":               {"driver/packet", "driver/trouble"},
	"driver/bgp":               {"driver/bgp/peer", "driver/route"},
	"driver/bgp/peer":          {},
	"driver/cleanup":           {"driver/link", "driver/netns", "driver/route"},
	"driver/command":           {"cluster/store", "driver/endpoint", "driver/engine", "driver/fixed", "driver/host", "driver/hostaccess", "driver/hostroute", "driver/journal", "driver/link", "driver/network", "driver/option", "driver/plan", "driver/publish", "driver/reconcile", "driver/visible", "ipam/pool", "ipam/reserve", "parentfile"},
	"driver/endpoint":          {"cluster/store", "driver/arp", "driver/engine", "driver/failpoint", "driver/fixed", "driver/host", "driver/journal", "driver/link", "driver/netns", "driver/option", "driver/parent", "driver/plugin", "driver/trouble", "driver/visible", "ipam", "ipam/pool"},
	"driver/engine":            {},
	"driver/engine/enginetest": {"driver/engine"},
	"driver/failpoint":         {},
	"driver/fixed":             {"cluster/store", "driver/host", "driver/journal", "driver/link", "driver/netns", "driver/visible", "ipam/fixed", "ipam/pool", "ipam/reserve"},
	"driver/host":              {"cluster/events", "cluster/store", "driver/engine", "driver/journal", "driver/link", "driver/netns", "driver/option", "driver/parent", "driver/plan", "driver/route", "driver/trouble", "ipam", "ipam/node", "parentfile"},
	"driver/hostaccess":        {"cluster/store", "driver/host", "driver/journal", "driver/link", "driver/netns", "driver/route", "driver/trouble"},
	"driver/hostroute":         {"cluster/store", "driver/host", "driver/journal", "driver/route", "driver/trouble"},
	"driver/journal":           {"cluster/store", "driver/option", "driver/visible", "ipam/addrset", "ipam/pool"},
	"driver/journal/disk":      {"driver/journal"},
	"driver/link":              {"driver/netns", "driver/packet", "driver/rtnetlink"},
	"driver/link/linktest":     {"driver/link"},
	"driver/netns":             {},
	"driver/netns/netnstest":   {"driver/netns"},
	"driver/network":           {"cluster/events", "cluster/store", "driver/endpoint", "driver/engine", "driver/failpoint", "driver/host", "driver/journal", "driver/link", "driver/option", "driver/parent", "driver/plan", "driver/plugin", "driver/publish", "driver/trouble", "driver/visible", "ipam", "ipam/pool", "ipam/reserve"},
	"driver/option":            {"cluster/store", "driver/link", "driver/visible", "ipam/pool", "parentfile"},
	"driver/oui":               {},
	"driver/packet":            {},
	"driver/parent":            {"driver/journal", "driver/link", "driver/netns", "driver/trouble", "parentfile"},
	"driver/plan":              {"cluster/store", "driver/engine", "driver/journal", "driver/option", "driver/trouble"},
	"driver/plugin":            {"driver/option", "driver/socket", "driver/visible", "ipam", "ipam/pool"},
	"driver/publish":           {"cluster/description", "cluster/events", "cluster/store", "driver/endpoint", "driver/engine", "driver/host", "driver/journal", "driver/option", "driver/parent", "driver/plan", "driver/trouble", "driver/visible", "ipam/pool", "ipam/wanted", "parentfile"},
	"driver/reconcile":         {"driver/endpoint", "driver/engine", "driver/host", "driver/network", "driver/trouble", "driver/visible"},
	"driver/route":             {"driver/netns", "driver/rtnetlink"},
	"driver/route/routetest":   {"driver/route"},
	"driver/rtnetlink":         {},
	"driver/socket":            {},
	"driver/trouble":           {},
	"driver/visible":           {},

	"ipam":          {"cluster/events", "cluster/store", "driver/failpoint", "driver/journal", "driver/trouble", "ipam/addrset", "ipam/census", "ipam/conflict", "ipam/fixed", "ipam/mirror", "ipam/node", "ipam/pool", "ipam/probe", "ipam/reserve", "ipam/wanted"},
	"ipam/addrset":  {},
	"ipam/audit":    {"cluster/description", "cluster/store", "ipam/evict", "ipam/survey"},
	"ipam/census":   {"cluster/store", "ipam/addrset", "ipam/mirror"},
	"ipam/conflict": {"cluster/events", "cluster/store", "ipam/pool"},
	"ipam/evict":    {"cluster/description", "cluster/events", "cluster/store", "driver/trouble"},
	"ipam/fixed":    {"cluster/events", "cluster/store", "driver/journal", "ipam/mirror", "ipam/node", "ipam/pool", "ipam/reserve"},
	"ipam/mirror":   {"cluster/store", "ipam/addrset", "ipam/pool"},
	"ipam/node":     {"cluster/events", "cluster/store", "driver/journal", "driver/trouble", "ipam/addrset", "ipam/mirror", "ipam/pool"},
	"ipam/pool":     {"cluster/store", "ipam/addrset"},
	"ipam/probe":    {"cluster/store", "driver/trouble", "ipam/addrset", "ipam/conflict", "ipam/pool"},
	"ipam/reserve":  {"cluster/store", "ipam/addrset", "ipam/pool"},
	"ipam/survey":   {"cluster/store", "ipam/addrset", "ipam/pool", "ipam/reserve"},
	"ipam/wanted":   {"ipam/addrset"},

	"dns/dnstest": {"cluster/store", "dns/zone", "driver/netns", "driver/netns/netnstest"},
	"dns/listen":  {"dns/serve", "dns/zone"},
	"dns/sandbox": {"dns/serve", "dns/zone"},
	"dns/serve":   {"dns/zone"},
	"dns/update":  {"dns/zone"},
	"dns/zone":    {"cluster/store"},

	"cluster":                       {"cluster/gossip", "cluster/store"},
	"cluster/description":           {"cluster/store"},
	"cluster/events":                {"cluster/store"},
	"cluster/events/eventstest":     {"cluster/events"},
	"cluster/gossip":                {"cluster/store"},
	"cluster/store":                 {},
	"cluster/store/authority":       {"cluster/store/internal/folder"},
	"cluster/store/backup":          {"cluster/store/internal/folder"},
	"cluster/store/care":            {"cluster/store", "cluster/store/etcd"},
	"cluster/store/embedded":        {"cluster/store/authority", "cluster/store/internal/folder", "cluster/store/internal/zaplog"},
	"cluster/store/etcd":            {"cluster/store", "cluster/store/internal/zaplog"},
	"cluster/store/etcdtest":        {"cluster/store", "cluster/store/authority", "cluster/store/embedded", "cluster/store/etcd"},
	"cluster/store/group":           {"cluster/store"},
	"cluster/store/hosting":         {"cluster/events", "cluster/store", "cluster/store/authority", "cluster/store/care", "cluster/store/embedded", "cluster/store/etcd", "cluster/store/internal/folder", "cluster/store/join", "cluster/store/members", "cluster/store/session"},
	"cluster/store/internal/folder": {},
	"cluster/store/internal/zaplog": {},
	"cluster/store/join":            {"cluster/store", "cluster/store/authority"},
	"cluster/store/members":         {"cluster/events", "cluster/store"},
	"cluster/store/session":         {"cluster/store"},
	"cluster/store/storetest":       {"cluster/store", "cluster/store/session"},

	"parentfile": {},
}

func TestArrows(t *testing.T) {
	for importer, imports := range ourImports(t) {
		if strings.HasPrefix(importer, "tests/") {
			continue
		}
		allowed, known := arrows[importer]
		if !known && len(imports) > 0 {
			t.Errorf("package %s is not in the table of arrows, and imports %s", importer, strings.Join(imports, ", "))
			continue
		}
		for _, imported := range imports {
			if !slices.Contains(allowed, imported) {
				t.Errorf("new arrow: %s -> %s", importer, imported)
			}
		}
		for _, imported := range allowed {
			if !slices.Contains(imports, imported) {
				t.Errorf("arrow that nobody uses: %s -> %s", importer, imported)
			}
		}
	}
}

// TestArrowsAreAcyclic follows the table: Go refuses a circle of packages that
// build, and this one says which arrow of the design closes it.
func TestArrowsAreAcyclic(t *testing.T) {
	var walk func(from string, path []string)
	walk = func(from string, path []string) {
		if slices.Contains(path, from) {
			t.Fatalf("circle: %s", strings.Join(append(path, from), " -> "))
		}
		for _, to := range arrows[from] {
			walk(to, append(path, from))
		}
	}
	for from := range arrows {
		walk(from, nil)
	}
}

// ourImports asks the toolchain which of our packages each of ours imports,
// test files left out; names are below the module. Packages that do not build
// are somebody else's finding.
func ourImports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string][]string{}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); err == io.EOF {
			return found
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		name, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours {
			continue
		}
		found[name] = nil
		for _, i := range p.Imports {
			if imported, ours := strings.CutPrefix(i, module+"/"); ours {
				found[name] = append(found[name], imported)
			}
		}
	}
}

// TestNoDatabaseBelow: who mirrors or reads the truth links no database, no
// etcd and no gRPC, whatever brings it to them.
func TestNoDatabaseBelow(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "./ipam/...", "./dns/zone", "./cluster/store", "./cmd/internal/api", "./cmd/internal/config")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, p := range strings.Fields(string(out)) {
		if strings.HasPrefix(p, "go.etcd.io/") || strings.HasPrefix(p, "google.golang.org/grpc") {
			t.Errorf("%s is linked", p)
		}
	}
}
