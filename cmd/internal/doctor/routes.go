package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gvlan/cmd/internal/config"
	"gvlan/driver/link"
	"gvlan/driver/option"
)

// checkRoutes looks at what routes between hosts go by. Containers of a network that
// routes are reached by their parent whether the host forwards or not; what comes by
// another interface of the host only where it does.
func checkRoutes(_ context.Context, f *facts) (string, []Finding, error) {
	if f.Config.Routes == config.RoutesOff {
		return "", nil, notNeeded("--routes off")
	}
	parents, err := f.parents()
	if err != nil {
		return "", nil, err
	}
	var saw []string
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(parents)) {
		routed := slices.DeleteFunc(slices.Clone(parents[name]), func(n network) bool {
			return !n.options.Layer3() || n.options.HostRoutes == option.HostRoutesOff || n.options.Scope == option.ScopeLocal
		})
		if len(routed) == 0 {
			continue
		}
		forwards, strict := f.read("proc/sys/net/ipv4/conf/"+name+"/forwarding"), f.strict(name)
		saw = append(saw, fmt.Sprintf("%s forwarding=%s rp_filter=%s", name, forwards, f.read("proc/sys/net/ipv4/conf/"+name+"/rp_filter")))
		others := f.otherWays(name)
		if forwards == "0" && len(others) > 0 {
			found = append(found, notForwarding(name, others, routed, "4", "net.ipv4.ip_forward"))
		}
		if f.read("proc/sys/net/ipv6/conf/all/forwarding") == "0" && len(others) > 0 && slices.ContainsFunc(routed, network.has6) {
			found = append(found, notForwarding(name, others, routed, "6", "net.ipv6.conf.all.forwarding"))
		}
		if strict && f.Config.BGP.AS != 0 {
			found = append(found, Finding{
				Severity: Hint,
				What:     fmt.Sprintf("%s, which %s from, drops what its answers would not leave by (rp_filter=1)", name, hang(routed)),
				Why:      "where a router brings packets by one interface and is answered by another, containers do not get them",
				Cure:     fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2, and in /etc/sysctl.d, where routers do that", sysctlName(name)),
			})
		}
	}
	if len(saw) == 0 {
		return "", nil, notNeeded("no network that routes has a parent here")
	}
	return list(saw), found, nil
}

func notForwarding(parent string, others []string, routed []network, version, key string) Finding {
	return Finding{
		Severity: Hint,
		What:     fmt.Sprintf("this host does not forward IPv%s, and the containers of %s are reached by %s alone", version, namesOf(routed), parent),
		Why:      fmt.Sprintf("machines that reach this host by %s do not reach those containers", list(others)),
		Cure:     fmt.Sprintf("sysctl -w %s=1, and in /etc/sysctl.d, if they are to", key),
	}
}

// otherWays are the host's interfaces, beside one, by which somebody may reach it.
func (f *facts) otherWays(parent string) (names []string) {
	for _, i := range f.interfaces.value {
		ours := i.Kind == string(link.Macvlan) || i.Kind == string(link.Ipvlan) || i.Kind == "bridge" && strings.HasPrefix(i.Name, "docker")
		if i.Name != parent && i.Name != "lo" && i.Up && len(i.Addresses) > 0 && !ours && !strings.HasPrefix(i.Name, "br-") {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names
}

// strict reports whether an interface drops what its answers would not leave by: the
// greater of its own setting and that of all counts.
func (f *facts) strict(name string) bool {
	return max(f.read("proc/sys/net/ipv4/conf/all/rp_filter"), f.read("proc/sys/net/ipv4/conf/"+name+"/rp_filter")) == "1"
}

// sysctlName is an interface's name as sysctl(8) writes it.
func sysctlName(name string) string { return strings.ReplaceAll(name, ".", "/") }
