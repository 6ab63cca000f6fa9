package agent

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gvlan/cmd/internal/api"
	"gvlan/dns/zone"
)

// tellDoubts logs what is doubtful about the names this host has a part in,
// each once, until ctx ends.
func (p *parts) tellDoubts(ctx context.Context) error {
	told := map[string]bool{}
	for {
		changed := p.names.zone.Changed()
		for _, n := range p.names.zone.Namesakes(zone.Everything()) {
			if slices.Contains(n.Nodes, p.self.Node) {
				p.tellOnce(told, func(called func(string) string) string { return namesakesDoubt(n, called) })
			}
		}
		for _, c := range p.names.zone.Conflicts() {
			p.tellOnce(told, func(func(string) string) string { return conflictDoubt(c) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// tellOnce logs a sentence that was not told before, whatever the hosts in it
// were called then.
func (p *parts) tellOnce(told map[string]bool, sentence func(called func(string) string) string) {
	if key := sentence(strings.Clone); !told[key] {
		told[key] = true
		p.log.Warn(sentence(api.CallNodes(p.nodeNames())))
	}
}

// listDoubts is everything that is doubtful about the names in scope.
func (p *parts) listDoubts(r *http.Request) (any, error) {
	scope, err := p.scopeFrom(r)
	if err != nil {
		return nil, err
	}
	called, doubts := api.CallNodes(p.nodeNames()), []string{}
	for _, n := range p.names.zone.Namesakes(scope) {
		doubts = append(doubts, namesakesDoubt(n, called))
	}
	for _, c := range p.names.zone.Conflicts() {
		doubts = append(doubts, conflictDoubt(c))
	}
	return doubts, nil
}

func namesakesDoubt(n zone.Namesakes, called func(node string) string) string {
	var hosts []string
	for _, node := range n.Nodes {
		hosts = append(hosts, called(node))
	}
	slices.Sort(hosts)
	last := len(hosts) - 1
	return fmt.Sprintf("container name %s is used on hosts %s and %s in network %s: it answers with the addresses of all of them",
		n.Name, strings.Join(hosts[:last], ", "), hosts[last], n.Network)
}

func conflictDoubt(c zone.Conflict) string {
	if c.With == "" {
		return fmt.Sprintf("network %s has no full names, for what it is called cannot stand in one: its containers answer to their bare names", c.Network)
	}
	return fmt.Sprintf("network %s has no full names, for %s would have the same (%s): its containers answer to their bare names", c.Network, c.With, c.Label)
}
