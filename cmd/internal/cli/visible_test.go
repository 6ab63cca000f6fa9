package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
	"gvlan/cmd/internal/terminal"
	"gvlan/dns/zone"
)

var blanks = regexp.MustCompile(` +`)

// lines are those that are not empty, their columns one blank apart.
func lines(text string) (all []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(blanks.ReplaceAllString(line, " ")); line != "" {
			all = append(all, line)
		}
	}
	return all
}

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
	status := api.Status{Node: odd, Host: odd, Warnings: []string{odd}, FailedStarts: []string{odd}, Etcd: api.EtcdStatus{Why: odd}, Networks: []api.NetworkStatus{{Name: odd, Parent: odd}}}
	tests := map[string]struct {
		lines int
		print func(io.Writer) error
	}{
		"network ls":      {2, func(out io.Writer) error { return printNetworkViews(out, []api.NetworkView{network}, time.Now()) }},
		"network inspect": {7, func(out io.Writer) error { return printNetwork(out, network, time.Now()) }},
		"network create":  {2, func(out io.Writer) error { return printNetworkHosts(out, network) }},
		"node ls":         {2, func(out io.Writer) error { return printNodes(out, []api.NodeView{node}, time.Now()) }},
		"node inspect":    {10, func(out io.Writer) error { return printNode(out, node, time.Now()) }},
		"dns ls":          {2, func(out io.Writer) error { return printNames(out, []api.NameView{name}) }},
		"dns doubts":      {1, func(out io.Writer) error { printDoubts(out, []string{odd}); return nil }},
		"status":          {10, func(out io.Writer) error { return printStatus(out, status, time.Now()) }},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			var out bytes.Buffer
			if err := test.print(terminal.NewWriter(&out)); err != nil {
				t.Fatal(err)
			}
			shown := out.String()
			if got := len(lines(shown)); got != test.lines {
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
	var out bytes.Buffer
	if err := printJSON(terminal.NewWriter(&out), api.NetworkView{Name: odd}); err != nil {
		t.Fatal(err)
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
