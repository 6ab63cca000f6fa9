package cli

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/cli/frame"
)

// completed are what a shell is offered for the last word, without what it says
// of them, and cobra's directive.
func completed(t *testing.T, socket string, words ...string) (offered []string, directive string) {
	t.Helper()
	t.Setenv("GVLAN_STATUS_SOCKET", socket)
	got := typed(t, append([]string{"__complete"}, words...)...)
	if got.Status != 0 {
		t.Fatalf("__complete %q: %+v", words, got)
	}
	for line := range strings.Lines(got.Out) {
		line = strings.TrimSuffix(line, "\n")
		if at, is := strings.CutPrefix(line, ":"); is {
			return offered, at
		}
		word, _, _ := strings.Cut(line, "\t")
		offered = append(offered, word)
	}
	return offered, ""
}

func TestCompletionOfThings(t *testing.T) {
	network := func(name, container, address string) api.NetworkView {
		return api.NetworkView{Name: name, Hosts: []api.NetworkHost{{Node: "id1", Name: "h1", Endpoints: []api.EndpointView{{Container: container, IPv4: address + "/24", MAC: "02:42:00:00:00:01"}}}}}
	}
	socket := clitest.Agent(t, clitest.Answers{
		"GET " + api.NetworksRoute: []api.NetworkView{network("lan", "web", "10.0.0.2"), network("lab", "db", "10.0.1.2"), network("office", "web", "10.0.2.2")},
		"GET " + api.ImportRoute:   []string{"old", "older"},
		"GET " + api.NodesRoute: []api.NodeView{
			{Node: "id1", Name: "h1", Interfaces: []store.Interface{{Name: "eth0"}, {Name: "eth1"}}},
			{Node: "id2", Name: "h2", Interfaces: []store.Interface{{Name: "eth1"}, {Name: "bond0"}}},
		},
	})
	const files, noFile, noSpace = "0", "4", "6"
	for _, test := range []struct {
		words     string
		want      []string
		directive string
	}{
		{"network inspect |", []string{"lab", "lan", "office"}, noFile},
		{"network rm la|", []string{"lab", "lan"}, noFile},
		{"network rm lan |", nil, noFile},
		{"network set lan exc|", []string{"exclude=", "exclude+=", "exclude-="}, noSpace},
		{"network set lan parent=|", []string{"parent=bond0", "parent=eth0", "parent=eth1"}, noFile},
		{"node drain |", []string{"h1", "h2"}, noFile},
		{"node evict h2|", []string{"h2"}, noFile},
		{"node inspect |", []string{"h1", "h2"}, noFile},
		{"dns lookup w|", []string{"web"}, noFile},
		{"dns lookup web --from |", []string{"db", "web"}, noFile},
		{"dns lookup web --type S|", []string{"SRV", "SOA"}, noFile},
		{"dns setup d|", []string{"dnsmasq"}, noFile},
		{"recover --without |", []string{"h1", "h2"}, noFile},
		{"store size |", []string{"1", "3", "5", "auto"}, noFile},
		{"network create -o macvlan|", []string{"macvlan_mode="}, noSpace},
		{"network create -o macvlan_mode=|", []string{"macvlan_mode=bridge", "macvlan_mode=private", "macvlan_mode=vepa", "macvlan_mode=passthru"}, noFile},
		{"network create -o parent=e|", []string{"parent=eth0", "parent=eth1"}, noFile},
		{"network create -o mtu=|", nil, noFile},
		{"network create --ipam-opt o|", []string{"overlap=", "order="}, noSpace},
		{"network create --ipam-opt order=a|", []string{"order=aged"}, noFile},
		{"network create --ipam-opt nosuch=|", nil, noSpace},
		{"events --node |", []string{"h1", "h2"}, noFile},
		{"events --kind released|", []string{"released"}, noFile},
		{"whois h|", []string{"h1", "h2"}, noFile},
		{"whois la|", []string{"lab", "lan"}, noFile},
		{"whois 10.0.1|", []string{"10.0.1.2"}, noFile},
		{"lease show 10.0.2|", []string{"10.0.2.2"}, noFile},
		{"lease ls --network o|", []string{"office"}, noFile},
		{"network cre|", []string{"create"}, noFile},
		{"network create --gat|", []string{"--gateway"}, noFile},
		{"network create -o parent=eth0,!b|", []string{"parent=eth0,!bond0"}, noFile},
		{"network import |", []string{"old", "older"}, noFile},
		{"status |", nil, noFile},
		{"join |", nil, noFile},
		{"network create --subnet |", nil, noFile},
		{"leave --wait |", nil, noFile},
		{"backup |", nil, files},
		{"join --token-file |", nil, files},
	} {
		t.Run(test.words, func(t *testing.T) {
			got, directive := completed(t, socket, strings.Split(strings.TrimSuffix(test.words, "|"), " ")...)
			if diff := cmp.Diff(test.want, got); diff != "" || directive != test.directive {
				t.Errorf("offered, with directive %s, want %s (-want +got):\n%s", directive, test.directive, diff)
			}
		})
	}
}

// TestCompletionWithoutAgent: nothing is offered, nothing is said, and nobody
// waits.
func TestCompletionWithoutAgent(t *testing.T) {
	asked := make(chan struct{}, 8)
	slow := clitest.Agent(t, clitest.Answers{"GET " + api.NetworksRoute: func(r *http.Request) (any, error) {
		asked <- struct{}{}
		<-r.Context().Done() // as when the shell asks no more
		return nil, r.Context().Err()
	}})
	for name, socket := range map[string]string{"down": filepath.Join(t.TempDir(), "nowhere"), "slow": slow} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if got, directive := completed(t, socket, "network", "rm", ""); got != nil || directive != "4" {
				t.Errorf("offered %q, with directive %s", got, directive)
			}
			if took := time.Since(began); took > 20*time.Second { // a bound for a machine that hardly moves
				t.Errorf("it took %s", took)
			}
		})
	}
	select {
	case <-asked:
	default:
		t.Error("the slow agent was not asked")
	}
}

// TestCompletionScripts are printed where a command prints.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := typed(t, "completion", shell); got.Status != frame.Well || !strings.Contains(got.Out, "gvlan") || got.Err != "" {
			t.Errorf("%s: status %d, %d bytes, stderr %q", shell, got.Status, len(got.Out), got.Err)
		}
	}
}
