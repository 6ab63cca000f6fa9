package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNodesAreCalledByTheirHosts(t *testing.T) {
	names := []nodeName{{"0a1b", "alpha"}, {"0c2d", "twin"}, {"0e3f", "twin"}, {"0f00", ""}}
	tests := []struct {
		name   string
		node   string // that is asked about
		called string
		by     string // what an operator says
		found  string
		err    string
	}{
		{name: "by its host", node: "0a1b", called: "alpha", by: "alpha", found: "0a1b"},
		{name: "by its own name", node: "0a1b", called: "alpha", by: "0a1b", found: "0a1b"},
		{name: "two hosts of one name", node: "0e3f", called: "0e3f", by: "twin", err: "2 hosts are called twin: give one of their nodes instead, 0c2d or 0e3f"},
		{name: "host not known", node: "0f00", called: "0f00", by: "0f00", found: "0f00"},
		{name: "unknown", node: "none", called: "none", by: "none", err: "no node is called none: gvlan node ls lists them"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := callNodes(names)(test.node); got != test.called {
				t.Errorf("%s is called %s, want %s", test.node, got, test.called)
			}
			found, err := nodeCalled(names, test.by)
			said := ""
			if err != nil {
				said = err.Error()
			}
			if diff := cmp.Diff([]string{test.found, test.err}, []string{found, said}); diff != "" {
				t.Errorf("%s finds (-want +got):\n%s", test.by, diff)
			}
		})
	}
}
