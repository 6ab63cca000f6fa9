package answer

import (
	"fmt"
	"slices"
	"strings"

	"gvlan/cluster"
	"gvlan/cluster/gossip"
	"gvlan/cluster/store"
	"gvlan/cmd/internal/api"
	"gvlan/driver/option"
)

// found is what a verdict on the cluster is made of, as one host sees it.
type found struct {
	status   api.Status // without its problems
	rows     []cluster.Row
	called   func(node string) string
	fresh    bool // etcd answers this host: who is not connected is down
	networks []api.NetworkView
}

// problems says what is wrong, the worst first, each with its cure. What an
// operator did on purpose (a stopped agent, a drained host) is none.
func (f found) problems() []api.Problem {
	all := []api.Problem{}
	all = append(all, f.ofStore()...)
	if why := f.status.Engine.Why; why != "" {
		all = append(all, api.Problem{What: "Docker does not answer: " + why, Cure: "systemctl status docker"})
	}
	all = append(all, f.ofHosts()...)
	all = append(all, f.ofNetworks()...)
	all = append(all, f.ofParents()...)
	all = append(all, f.ofPools()...)
	for _, w := range f.status.Warnings {
		all = append(all, api.Problem{What: w})
	}
	if names := f.status.FailedStarts; len(names) > 0 {
		all = append(all, api.Problem{What: "not started, and Docker does not try again: " + strings.Join(names, ", "), Cure: "docker start " + strings.Join(names, " ")})
	}
	return all
}

func (f found) ofStore() []api.Problem {
	e := f.status.Etcd
	if e.Trusted {
		return nil
	}
	p := api.Problem{What: "no new address is given: " + e.Why}
	if e.Asks {
		return []api.Problem{p} // Why says what to run
	}
	var silent []string
	for _, m := range f.status.Store {
		if !m.Answers {
			silent = append(silent, m.Host)
		}
	}
	switch {
	case len(silent) > 0:
		p.Cure = "start the agents on " + strings.Join(silent, ", ") + " (systemctl start gvlan), or gvlan store recover when they are lost for good"
	case len(f.status.Store) == 0 && !f.status.Solo:
		p.Cure = "look at the store at " + strings.Join(e.Endpoints, ", ")
	}
	return []api.Problem{p}
}

// ofHosts tells of the other agents, those that fare alike together: this one's own
// troubles are told by what they do.
func (f found) ofHosts() (all []api.Problem) {
	if !f.fresh {
		return nil
	}
	hosts := map[cluster.State][]string{}
	for _, row := range f.rows {
		if row.Node != f.status.Node && !row.Store.Epoch.Evicted && !leaves(row) {
			hosts[row.State] = append(hosts[row.State], f.called(row.Node))
		}
	}
	tell := func(state cluster.State, one, several, cure string) {
		named := hosts[state]
		slices.Sort(named)
		if len(named) > 1 {
			one = several
		}
		if len(named) > 0 {
			all = append(all, api.Problem{What: fmt.Sprintf(one, strings.Join(named, ", ")), Cure: cure})
		}
	}
	lost := "HOST"
	if down := hosts[cluster.Down]; len(down) == 1 {
		lost = down[0]
	}
	tell(cluster.Down, "host %s is down", "hosts %s are down", "systemctl start gvlan there, or gvlan node evict "+lost+" when it will not come back")
	tell(cluster.Detached, "host %s has lost the store: new addresses are refused there", "hosts %s have lost the store: new addresses are refused there", "gvlan status there")
	tell(cluster.Unreachable, "no host gets an answer from %s, which is connected to the store", "no host gets an answer from %s, which are connected to the store",
		"gvlan doctor there: is UDP and TCP 7947 open?")
	return all
}

// leaves reports whether a node that is gone, or goes, said so: its peers hear
// it some seconds before its session in the store ends.
func leaves(row cluster.Row) bool {
	switch row.State {
	case cluster.Down:
		return row.Stopped
	case cluster.Unreachable:
		return row.Member != nil && row.Member.Standing == gossip.Left
	}
	return false
}

// ofNetworks tells of networks that cannot be used on a host whose agent is
// there.
func (f found) ofNetworks() (all []api.Problem) {
	for _, n := range f.networks {
		if n.State != string(store.NetworkActive) || n.Scope == string(store.ScopeSwarm) {
			continue
		}
		var hosts []string
		why, connected := "", 0
		for _, h := range n.Hosts {
			if !h.Connected {
				continue
			}
			connected++
			if h.Why != "" {
				hosts, why = append(hosts, f.called(h.Node)), h.Why
			}
		}
		cure := "gvlan network inspect " + n.Name + "; gvlan network set " + n.Name + " parent=... changes its parents"
		if n.Scope == string(option.ScopeLocal) {
			cure = "gvlan network inspect " + n.Name
		}
		slices.Sort(hosts)
		switch {
		case len(hosts) == 0:
		case len(hosts) == connected && connected > 1:
			all = append(all, api.Problem{What: fmt.Sprintf("network %s can be used on no host: %s", n.Name, why), Cure: cure})
		default:
			all = append(all, api.Problem{What: fmt.Sprintf("network %s cannot be used on %s: %s", n.Name, strings.Join(hosts, ", "), why), Cure: cure})
		}
	}
	return all
}

// ofPools tells of this host's networks that have no address left, of one IP
// version: the next container is refused. A network of one address is made to
// be full.
func (f found) ofPools() (all []api.Problem) {
	for _, n := range f.status.Networks {
		for _, version := range []string{"IPv4", "IPv6"} {
			used, left := uint64(0), false
			for _, p := range n.Pools {
				if strings.Contains(p.Subnet, ":") != (version == "IPv6") {
					continue
				}
				used += p.Used
				left = left || p.Free > 0 || p.Resting > 0
			}
			if used > 1 && !left {
				all = append(all, api.Problem{
					What: fmt.Sprintf("network %s is full: all its %d %s addresses are in use, and the next container is refused", n.Name, used, version),
					Cure: "gvlan pool ls; gvlan lease ls --network " + n.Name + " says by whom; gvlan network set " + n.Name + " range+=CIDR adds some of its subnet",
				})
			}
		}
	}
	return all
}

// ofParents tells of interfaces of this host that are down under containers. One
// that is not listed, as a VLAN that is being made, has no MTU here.
func (f found) ofParents() (all []api.Problem) {
	for _, p := range f.status.Parents {
		var networks []string
		for _, n := range f.status.Networks {
			if n.Parent == p.Name && n.Endpoints > 0 {
				networks = append(networks, n.Name)
			}
		}
		if p.MTU > 0 && !p.Up && len(networks) > 0 {
			all = append(all, api.Problem{
				What: fmt.Sprintf("parent %s is down: containers here reach nobody on %s", p.Name, strings.Join(networks, ", ")),
				Cure: "ip link set " + p.Name + " up; is its cable in?",
			})
		}
	}
	return all
}
