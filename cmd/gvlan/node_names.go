package main

import (
	"fmt"
	"slices"
	"strings"
)

// nodeName is a node's own name and its host's, "" while that is not known.
type nodeName struct{ node, host string }

// nodeNames are those of every node.
func (p *parts) nodeNames() []nodeName {
	var all []nodeName
	for _, row := range p.rows() {
		all = append(all, nodeName{row.Node, row.Store.Description.Host})
	}
	return all
}

// callNodes returns what people call each node: by its host's name; by its
// own where that is not known, or the name of several hosts.
func callNodes(all []nodeName) func(node string) string {
	hosts, count := map[string]string{}, map[string]int{}
	for _, n := range all {
		hosts[n.node] = n.host
		count[n.host]++
	}
	return func(node string) string {
		if host := hosts[node]; host != "" && count[host] == 1 {
			return host
		}
		return node
	}
}

// nodeCalled finds a node by its own name or by its host's, which must not be
// that of several.
func nodeCalled(all []nodeName, name string) (string, error) {
	var on []string
	for _, n := range all {
		if n.node == name {
			return name, nil
		}
		if n.host == name {
			on = append(on, n.node)
		}
	}
	switch len(on) {
	case 0:
		return "", fmt.Errorf("no node is called %s: gvlan node ls lists them", name)
	case 1:
		return on[0], nil
	}
	slices.Sort(on)
	return "", fmt.Errorf("%d hosts are called %s: give one of their nodes instead, %s", len(on), name, strings.Join(on, " or "))
}
