package cli

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/cli/clitest"
	"gvlan/cmd/internal/config"
	"gvlan/dns/zone"
	"gvlan/driver/command"
)

// odd is a name that would clear a terminal, and make a row of its own.
const odd = "odd\x1b[2J\u009b\nh9\th9"

// TestTextOfOthersIsVisible: every table has one row for each thing, and does
// nothing to a terminal.
func TestTextOfOthersIsVisible(t *testing.T) {
	network := api.NetworkView{
		Name: odd, UUID: "u1", Scope: "global", State: "active", Origin: odd, Options: map[string]string{odd: odd}, Segment: odd,
		Hosts: []api.NetworkHost{{Node: odd, Host: odd, State: odd, Parent: odd, Why: odd, Links: []string{odd}, Endpoints: []api.EndpointView{{Container: odd, IPv4: odd, MAC: odd, Parent: odd}}}},
	}
	node := api.NodeView{
		Node: odd, Host: odd, Address: odd, State: "ready", Version: odd,
		Interfaces: []store.Interface{{Name: odd, Kind: odd, Addresses: []string{odd}, UsedBy: []string{odd}}},
		Networks:   []store.NodeNetwork{{Name: odd, State: odd, Why: odd}},
		Swarm:      &api.NodeView{Node: odd + config.SwarmSuffix, Host: odd, State: odd, Version: odd},
	}
	name := api.NameView{Record: zone.Record{Name: odd, Network: odd, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, Host: odd}
	status := api.Status{Node: odd, Host: odd, Problems: []api.Problem{{What: odd, Cure: odd}}, Networks: []api.NetworkStatus{{Name: odd, Parent: odd}}}
	socket := clitest.Agent(t, clitest.Answers{
		"GET " + api.NetworksRoute: []api.NetworkView{network}, "GET " + api.NetworkRoute: network, "POST " + api.NetworksRoute: command.Defined{Warnings: []string{odd}},
		"GET " + api.NodesRoute: []api.NodeView{node}, "GET " + api.NamesRoute: []api.NameView{name}, "GET " + api.DoubtsRoute: []string{odd},
		"GET " + api.StatusRoute: status,
	})
	tests := []struct {
		lines int // on both outputs
		args  string
	}{
		{3, "network ls"}, {7, "network inspect lan"}, {3, "network create lan"}, {2, "node ls"}, {3, "dns ls"}, {9, "status"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			var out bytes.Buffer
			Run(t.Context(), append(strings.Fields(test.args), "--status-socket", socket), &out, &out, "v1", nil)
			shown := out.String()
			if got := len(clitest.Lines(shown)); got != test.lines {
				t.Errorf("%d lines, want %d:\n%s", got, test.lines, shown)
			}
			if !strings.Contains(shown, `odd\u001b[2J\u009b; h9 h9`) {
				t.Errorf("the name is not shown:\n%s", shown)
			}
			if i := strings.IndexFunc(shown, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
				t.Errorf("a control character is printed: %q", shown[i:])
			}
		})
	}
}

// TestJSONOfOthersIsVisible, and says what it said.
func TestJSONOfOthersIsVisible(t *testing.T) {
	socket := clitest.Agent(t, clitest.Answers{"GET " + api.NetworkRoute: api.NetworkView{Name: odd}})
	var out bytes.Buffer
	if status := Run(t.Context(), []string{"network", "inspect", "--json", "--status-socket", socket, "lan"}, &out, &out, "v1", nil); status != 0 {
		t.Fatalf("status %d: %s", status, out.String())
	}
	var got api.NetworkView
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Name != odd {
		t.Errorf("read back as %q, %v", got.Name, err)
	}
	if strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
		t.Errorf("a control character is printed: %q", out.String())
	}
}

// TestErrorsAreVisible: what the command line itself says.
func TestErrorsAreVisible(t *testing.T) {
	var out, err bytes.Buffer
	if status := Run(t.Context(), []string{"network", "inspect", "--status-socket", "/nosuch\x1b[2J\u009b", "lan"}, &out, &err, "v1", nil); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	if got := out.String() + err.String(); !strings.Contains(got, `/nosuch\u001b[2J\u009b`) || strings.ContainsAny(got, "\x1b\u009b") {
		t.Errorf("it says %q", got)
	}
}
