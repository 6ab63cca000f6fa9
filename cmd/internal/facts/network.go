package facts

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
)

// UsableHosts counts the hosts on which a container could start, of those that
// should have the network. The swarm makes its networks only where a task
// runs: any number is right.
func UsableHosts(v api.NetworkView) string {
	if v.Scope == string(store.ScopeSwarm) {
		return strconv.Itoa(v.Usable())
	}
	return fmt.Sprintf("%d/%d", v.Usable(), len(v.Hosts))
}

// MadeOn is what people call the node a network was made on.
func MadeOn(v api.NetworkView) string {
	for _, h := range v.Hosts {
		if h.Node == v.Origin {
			return h.Called()
		}
	}
	return v.Origin
}

// Subnet is a subnet with what it was made with.
func Subnet(p store.Pool) string {
	line := p.Subnet.String()
	if p.Range.IsValid() {
		line += ", addresses from " + p.Range.String()
	}
	if p.Gateway.IsValid() {
		return line + ", gateway " + p.Gateway.String()
	}
	return line + ", no gateway"
}

// Changed are what `network set` changed, as it is typed.
func Changed(v api.NetworkView) []string {
	var lines []string
	if v.Overrides.Parent != nil {
		lines = append(lines, "parent="+*v.Overrides.Parent)
	}
	if len(v.Overrides.Exclude) > 0 {
		lines = append(lines, "exclude="+strings.Join(v.Overrides.Exclude, ","))
	}
	for _, r := range v.Overrides.Ranges {
		lines = append(lines, "range+="+r.String())
	}
	if v.Overrides.Cooldown != "" {
		lines = append(lines, "cooldown="+v.Overrides.Cooldown)
	}
	if v.Overrides.HostAccess != "" {
		lines = append(lines, "host-access="+v.Overrides.HostAccess)
	}
	return lines
}

// Said are what hosts say of themselves, each sentence once, with who says it.
func Said(v api.NetworkView, said func(api.NetworkHost) string) []string {
	var lines []string
	for _, h := range v.Hosts {
		word := said(h)
		if word == "" {
			continue
		}
		begins := func(l string) bool { return strings.HasPrefix(l, word+" (") }
		if at := slices.IndexFunc(lines, begins); at >= 0 {
			lines[at] = strings.TrimSuffix(lines[at], ")") + ", " + h.Called() + ")"
			continue
		}
		lines = append(lines, fmt.Sprintf("%s (%s)", word, h.Called()))
	}
	return lines
}

// NetworkContainers counts those on the network.
func NetworkContainers(v api.NetworkView) (n int) {
	for _, h := range v.Hosts {
		n += len(h.Endpoints)
	}
	return n
}

// Options are those that the network was made with, as they are typed, in order.
func Options(v api.NetworkView) (all []string) {
	for _, k := range slices.Sorted(maps.Keys(v.Options)) {
		all = append(all, k+"="+v.Options[k])
	}
	return all
}
