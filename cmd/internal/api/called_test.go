package api_test

import (
	"testing"

	"gvlan/cmd/internal/api"

	"github.com/google/go-cmp/cmp"
)

func TestNodesAreCalledByTheirHosts(t *testing.T) {
	names := []api.NodeName{
		{"0a1b", "alpha", "10.0.0.1"}, {"0c2d", "twin", "10.0.0.2"}, {"0e3f", "twin", "10.0.0.3"}, {"0f00", "", ""},
		// Two agents of one host: of one name, or known by host name and address.
		{"0b11", "mixed", "10.0.0.4"}, {"0b11.swarm", "mixed", "10.0.0.4"},
		{"own", "odd", "10.0.0.5"}, {"0b22.swarm", "odd", "10.0.0.5"},
		{"rack", "rack", "10.0.0.6"}, {"rack.swarm", "rack", "10.0.0.6"},
		{"0b33.swarm", "worker", "10.0.0.7"},
		// Twins with two agents each.
		{"0d11", "both", "10.0.0.8"}, {"0d11.swarm", "both", "10.0.0.8"}, {"0d22", "both", "10.0.0.9"}, {"0d22.swarm", "both", "10.0.0.9"},
		// A plugin that was given another name.
		{"0e11.swarm", "renamed", "10.0.0.12"}, {"named.swarm", "renamed", "10.0.0.12"},
		// A cloned host name: the addresses differ.
		{"0d33", "copy", "10.0.0.10"}, {"0d44.swarm", "copy", "10.0.0.11"},
	}
	tests := []struct {
		name   string
		node   string // that is asked about
		called string
		agent  string // what its agent is called
		by     string // what an operator says
		found  []string
		err    string
	}{
		{name: "by its host", node: "0a1b", called: "alpha", agent: "alpha", by: "alpha", found: []string{"0a1b"}},
		{name: "by its own name", node: "0a1b", called: "alpha", agent: "alpha", by: "0a1b", found: []string{"0a1b"}},
		{name: "two hosts of one name", node: "0e3f", called: "0e3f", agent: "0e3f", by: "twin", err: "2 hosts are called twin: give one of their nodes instead, 0c2d or 0e3f"},
		{name: "host not known", node: "0f00", called: "0f00", agent: "0f00", by: "0f00", found: []string{"0f00"}},
		{name: "nothing", node: "0f00", called: "0f00", agent: "0f00", by: "", err: "no node is named: give a host's name, as gvlan node ls lists them"},
		{name: "unknown", node: "none", called: "none", agent: "none", by: "none", err: "no node is called none: gvlan node ls lists them"},
		{name: "the socket agent of two", node: "0b11", called: "mixed", agent: "mixed", by: "mixed", found: []string{"0b11", "0b11.swarm"}},
		{name: "the plugin of two", node: "0b11.swarm", called: "mixed", agent: "mixed (swarm)", by: "0b11.swarm", found: []string{"0b11.swarm"}},
		{name: "one of two that was named", node: "0b22.swarm", called: "odd", agent: "odd (swarm)", by: "odd", found: []string{"own", "0b22.swarm"}},
		{name: "a node called as its host", node: "rack.swarm", called: "rack", agent: "rack (swarm)", by: "rack", found: []string{"rack", "rack.swarm"}},
		{name: "a plugin alone", node: "0b33.swarm", called: "worker", agent: "worker", by: "worker", found: []string{"0b33.swarm"}},
		{name: "twins with two agents each", node: "0d22.swarm", called: "0d22.swarm", agent: "0d22.swarm", by: "both", err: "2 hosts are called both: give one of their nodes instead, 0d11 or 0d22"},
		{name: "a plugin under its old name and its new", node: "0e11.swarm", called: "0e11.swarm", agent: "0e11.swarm", by: "renamed", err: "2 hosts are called renamed: give one of their nodes instead, 0e11.swarm or named.swarm"},
		{name: "one host name, two addresses", node: "0d44.swarm", called: "0d44.swarm", agent: "0d44.swarm", by: "copy", err: "2 hosts are called copy: give one of their nodes instead, 0d33 or 0d44.swarm"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := api.CallNodes(names)(test.node); got != test.called {
				t.Errorf("the host of %s is called %s, want %s", test.node, got, test.called)
			}
			if got := api.CallAgents(names)(test.node); got != test.agent {
				t.Errorf("the agent %s is called %s, want %s", test.node, got, test.agent)
			}
			found, err := api.NodesCalled(names, test.by)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if diff := cmp.Diff(test.found, found); diff != "" || said != test.err {
				t.Errorf("%s finds (-want +got):\n%s\nand says %q, want %q", test.by, diff, said, test.err)
			}
		})
	}
}
