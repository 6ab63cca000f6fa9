package kernel_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"gvlan/tests/lab"
)

// The hosts of these scenes are those of the guides' pictures, with one more: eth0 is
// the parent of their l3 networks, and eth1, which the lab gives addresses, that of
// l3s ones.
const (
	layer3Host1, layer3Host2, layer3Host3 = "192.168.1.249", "192.168.1.251", "192.168.1.250"

	net130 = "--subnet=192.168.130.0/24 -o host_iface=eth0 -o ipvlan_mode=l3 ipvlan130"
	net110 = "--ipv6 --subnet=192.168.110.0/24 --subnet=192.168.112.0/24 --subnet=2001:db8:abc6::/64 -o parent=eth0 -o ipvlan_mode=l3 ipnet110"
)

// TestHostRoutes: hosts reach one another's containers of l3 and l3s networks, and go
// on doing so whatever becomes of agents and of etcd; what an admin says comes first.
func TestHostRoutes(t *testing.T) {
	if !inUML(t) {
		return
	}
	s := newSite(t, engines{lab.Docker20, lab.Docker28, lab.Docker28})
	p := newPlay(s.on(t), "")
	for i, addr := range []string{layer3Host1, layer3Host2, layer3Host3} {
		s.sh(s.Hosts[i].Machine, fmt.Sprintf("ip addr add %s/24 dev eth0 && ip addr add fd70::%d/64 dev eth0 nodad", addr, i+1))
		// What comes by a parent reaches its containers on a host that is no router, and
		// that takes nothing from where it would not answer.
		s.sh(s.Hosts[i].Machine, "cd /proc/sys/net && echo 0 >ipv4/ip_forward && echo 0 >ipv6/conf/all/forwarding && echo 1 >ipv4/conf/eth0/rp_filter && echo 1 >ipv4/conf/eth1/rp_filter && echo 1 >ipv4/conf/all/rp_filter")
	}
	for _, part := range []struct {
		name string
		play func(p *play)
	}{
		{"everybody reaches everybody", routesReachAll},
		{"nothing is lost", routesUnbroken},
		{"what is left alone", routesLeftAlone},
		{"a table of their own", routesInTable},
		{"a dead host", routesOfDeadHost},
	} {
		t.Run(part.name, func(t *testing.T) {
			now := p.with(t)
			part.play(now)
			if t.Failed() {
				now.tell("h1", "h2", "h3")
			}
		})
		if t.Failed() {
			return // the others begin where this one was to end
		}
	}
}

// routesReachAll: each container of a parent's networks reaches each other and each
// host, and the other way round, without a route that anybody typed: so are the
// guides' remote hosts, host 1 with 192.168.1.249 and host 2 with 192.168.1.251, in
// "Notes", and any other Docker host in the page of Docker 1.12.
func routesReachAll(p *play) {
	p.rows(
		create(net130), create(net110),
		create("--ipv6 --subnet=10.74.0.0/24 --subnet=10.75.0.0/24 --subnet=fd74::/64 -o parent=eth1 -o ipvlan_mode=l3s lan3"),
		create("--ipv6 --subnet=10.76.0.0/24 --subnet=fd76::/64 -o parent=eth1 -o ipvlan_mode=l3s --ipam-opt block=off lan4"),
	)
	p.together(
		run("one", "--net=ipvlan130", link("eth0", "ipvlan l3 bridge on eth0"), address("192.168.130.2/24"),
			routes("default dev eth0", "192.168.130.0/24 dev eth0 src 192.168.130.2")),
		onHost(2, run("two", "--net=ipnet110 --ip=192.168.112.50 --ip6=2001:db8:abc6::50")),
		onHost(3, run("three", "--net=ipnet110 --ip=192.168.110.10 --ip6=2001:db8:abc6::10")),
		run("four", "--net=lan3 --ip=10.74.0.10 --ip6=fd74::10", link("eth0", "ipvlan l3s bridge on eth1")),
		onHost(2, run("five", "--net=lan4 --ip=10.76.0.10 --ip6=fd76::10")),
		onHost(3, run("six", "--net=lan3 --ip=10.75.0.10 --ip6=fd74::11")),
	)
	p.row(sh("true", slices.Concat(
		reachAll(map[string][]string{
			"one": {"192.168.130.2"}, "two": {"192.168.112.50", "2001:db8:abc6::50"}, "three": {"192.168.110.10", "2001:db8:abc6::10"},
		}, map[string][]string{
			"h1": {layer3Host1, "fd70::1"}, "h2": {layer3Host2, "fd70::2"}, "h3": {layer3Host3, "fd70::3"},
		}),
		reachAll(map[string][]string{
			"four": {"10.74.0.10", "fd74::10"}, "five": {"10.76.0.10", "fd76::10"}, "six": {"10.75.0.10", "fd74::11"},
		}, map[string][]string{
			"h1": {"10.99.0.1", "fd99::1"}, "h2": {"10.99.0.2", "fd99::2"}, "h3": {"10.99.0.3", "fd99::3"},
		}))...))
	p.row(sh("true", nextHop("192.168.112.50", layer3Host2), nextHop("2001:db8:abc6::10", "fd70::3"), nextHop("10.76.0.10", "10.99.0.2"), nextHop("fd74::11", "fd99::3"),
		later(lists("lan4 10.76.0.10/32 10.99.0.2 eth1 h2")), later(lists("lan3 fd74::11/128 fd99::3 eth1 h3")), later(lists("ipnet110 192.168.112.0/26 "+layer3Host2+" eth0 h2"))))
}

// reachAll are the pings from each container to each other container and host, and from
// each host to each container, in each family that both have.
func reachAll(containers, hosts map[string][]string) []check {
	var all []check
	ping := func(who string, own, addrs []string) {
		for _, addr := range addrs {
			if slices.ContainsFunc(own, func(o string) bool { return isSix(o) == isSix(addr) }) {
				all = append(all, from(who, reaches(addr)))
			}
		}
	}
	for name, own := range containers {
		for other, addrs := range containers {
			if other != name {
				ping(name, own, addrs)
			}
		}
		for host, addrs := range hosts {
			ping(name, own, addrs)
			ping(host, addrs, own)
		}
	}
	return all
}

func isSix(addr string) bool { return strings.Contains(addr, ":") }

// routesUnbroken: agents and etcd come and go, and no ping is lost and no route goes.
// A container that moves leaves no moment without a route to it.
func routesUnbroken(p *play) {
	p.row(onHost(2, run("mover", "--net=ipvlan130 --ip=192.168.130.50", later(from("h1", nextHop("192.168.130.50", layer3Host2))), later(from("h3", nextHop("192.168.130.50", layer3Host2))))))
	more, answered := p.unbroken(way{"one", "three"}, way{"h2", "2001:db8:abc6::10"}, way{"six", "four"})
	stayed := p.steadily("192.168.130.50", "h1", "h3")
	for _, r := range []row{
		does("kill the agents", eachAgent((*lab.Agent).Kill, 0, 2)),
		does("start them", startAgents(0, 2)),
		does("restart the agents", relaunchAgents(0, 2)),
		does("take etcd away", func(p *play) { p.fatal(p.etcd.Kill()) }),
		does("kill an agent", eachAgent((*lab.Agent).Kill, 2)),
		does("start it", func(p *play) { p.fatal(p.agents[2].Start(p.t.Context())) }),
		does("give etcd back", func(p *play) {
			p.fatal(p.etcd.Start(p.t.Context()))
			p.waitTrusted(p.Hosts[0])
			p.waitTrusted(p.Hosts[2])
		}),
	} {
		p.row(r)
		more()
	}
	moves, err := p.logRoutes("h3")
	p.fatal(err)
	had, err := p.place("h3").routes(p.t.Context(), "-4")
	p.fatal(err)
	p.rows(
		onHost(2, sh("docker rm -f mover")),
		run("moved", "--net=ipvlan130 --ip=192.168.130.50", later(from("h3", nextHop("192.168.130.50", layer3Host1))), later(from("h2", reaches("192.168.130.50")))),
	)
	told, err := moves.end(p.t.Context())
	p.fatal(err)
	p.t.Logf("routes of h3 meanwhile: %s", strings.Join(told, "; "))
	if gap := withoutRoute("192.168.130.50", had, told); gap != "" {
		p.t.Errorf("h3 had no route to the container while it moved, after: %s", gap)
	}
	answered()
	stayed()
}

// withoutRoute replays what `ip monitor` told on top of the routes that were there, and
// gives what was told last when none by way of a host led to the address.
func withoutRoute(addr string, had, told []string) string {
	routes := map[netip.Prefix]bool{}
	note := func(line string) {
		line, deleted := strings.CutPrefix(line, "Deleted ")
		dst, _, via := strings.Cut(line, " via ")
		if prefix, err := asPrefix(dst); err == nil && via {
			routes[prefix] = !deleted
		}
	}
	for _, line := range had {
		note(line)
	}
	for _, line := range told {
		note(line)
		covered := false
		for prefix, there := range routes {
			covered = covered || there && prefix.Contains(netip.MustParseAddr(addr))
		}
		if !covered {
			return line
		}
	}
	return ""
}

// asPrefix reads a destination as ip writes it: a lone address has no length.
func asPrefix(dst string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(dst); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(dst)
}

// routesLeftAlone: where the network says so nobody has a route to its containers, and the
// guide's line is typed as ever. Containers that are on a switch need none. A route
// that an admin made stays, and what that keeps from being made is told.
func routesLeftAlone(p *play) {
	const seven = "10.76.0.77"
	p.rows(
		create("--subnet=192.168.120.0/24 -o host_iface=eth0 -o ipvlan_mode=l3 -o routes=off ipvlan120"),
		create("--subnet=10.77.0.0/24 -o parent=eth0.60 macs"),
		create("--subnet=10.78.0.0/24 -o parent=eth0.61 -o kind=ipvlan ips"),
	)
	p.together(run("off", "--net=ipvlan120", address("192.168.120.2/24")), run("mac", "--net=macs"), run("ip", "--net=ips"))
	p.rows(
		onHost(2, sh("ip route add "+seven+"/32 via 10.99.0.3")),
		// Whoever has this route has heard of the others.
		run("seven", "--net=lan4 --ip="+seven, from("h3", later(nextHop(seven, "10.99.0.1")))),
		onHost(2, sh("true", later(tells(seven)), nextHop(seven, "10.99.0.3"))),
	)
	for _, h := range []int{2, 3} {
		p.row(onHost(h, sh("true", noRoutesTo("192.168.120.0/24"), noRoutesTo("10.77.0.0/24"), noRoutesTo("10.78.0.0/24"), cannotReach("off", "off"))))
	}
	p.rows(
		onHost(2, sh("ip route add 192.168.120.0/24 via "+layer3Host1, reaches("off"), from("off", reaches(layer3Host2)))),
		onHost(2, sh("ip route del 192.168.120.0/24")),
		onHost(2, sh("ip route del "+seven+"/32 via 10.99.0.3", later(nextHop(seven, "10.99.0.1")), later(fails(tells(seven))))),
		sh("docker rm -f off mac ip seven", from("h2", later(fails(nextHop(seven, "10.99.0.1")))), from("h3", later(fails(nextHop(seven, "10.99.0.1"))))),
	)
}

// routesInTable: the routes are where the admin says, or nowhere, and what was made
// elsewhere before goes.
func routesInTable(p *play) {
	h3 := p.Hosts[2]
	with := func(args ...string) func(p *play) {
		return func(p *play) {
			p.fatal(p.agents[2].Stop(p.t.Context()))
			p.agents[2] = p.startAgent(h3, args...)
		}
	}
	none, some := later(routesVia("main", false)), later(routesVia("main", true))
	for _, r := range []row{
		sh("ip rule add lookup 100 priority 100 && ip -6 rule add lookup 100 priority 100"),
		does("a table", with("--routes-table", "100"), from("h3", later(routesVia("100", true))), from("h3", none), from("h3", later(reaches("192.168.130.2"))), from("h3", later(reaches("2001:db8:abc6::50")))),
		sh("ip rule del lookup 100 priority 100 && ip -6 rule del lookup 100 priority 100"),
		does("no routes", with("--routes", "off"), from("h3", none), from("h3", later(routesVia("100", false)))),
		does("as ever", with(), from("h3", some), from("h3", later(routesVia("100", false))), from("h3", later(nextHop("192.168.130.2", layer3Host1)))),
	} {
		p.row(onHost(3, r))
	}
}

// routesOfDeadHost: what leads to a host that is gone stays, as its containers may live,
// until that is evicted.
func routesOfDeadHost(p *play) {
	stay := []check{nextHop("192.168.110.10", layer3Host3), nextHop("2001:db8:abc6::10", "fd70::3"), nextHop("10.75.0.10", "10.99.0.3")}
	var gone []check
	for _, c := range stay {
		gone = append(gone, later(fails(c)))
	}
	p.rows(
		does("h3 dies", func(p *play) {
			p.fatal(p.agents[2].Kill())
			p.sh(p.LAN.Machine, "ip link set t-h3 down && ip link set p-h3 down")
		}),
		sh("true", later(node("h3", "down"))),
		sh("true", stay...), onHost(2, sh("true", stay...)),
		sh(p.program+" node evict h3", gone...), onHost(2, sh("true", gone...)),
		sh("true", nextHop("192.168.112.50", layer3Host2)),
	)
}

// with is the play as a subtest sees it.
func (p *play) with(t *testing.T) *play {
	now := *p
	now.site = p.on(t)
	return &now
}

// rows plays them until one fails.
func (p *play) rows(all ...row) {
	p.t.Helper()
	for _, r := range all {
		if !p.t.Failed() {
			p.row(r)
		}
	}
}

// together starts containers at the same time, and then looks at each.
func (p *play) together(all ...row) {
	p.t.Helper()
	var group sync.WaitGroup
	for _, r := range all {
		group.Go(func() {
			p.docker(p.Hosts[r.on], "", "docker run -d --name "+r.name+" "+r.text+" busybox sleep 1000000")
		})
	}
	group.Wait()
	for _, r := range all {
		if !p.t.Failed() {
			p.adopt(p.Hosts[r.on], r.name)
			p.see(r.text, p.place(r.name), r.see)
		}
	}
}

// fatal ends the subtest at an error.
func (p *play) fatal(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// eachAgent does something with the agents of these hosts at the same time.
func eachAgent(do func(*lab.Agent) error, hosts ...int) func(p *play) {
	return func(p *play) {
		var group errgroup.Group
		for _, n := range hosts {
			group.Go(func() error { return do(p.agents[n]) })
		}
		p.fatal(group.Wait())
	}
}

func startAgents(hosts ...int) func(p *play) {
	return func(p *play) {
		eachAgent(func(a *lab.Agent) error { return a.Start(p.t.Context()) }, hosts...)(p)
		for _, n := range hosts {
			p.waitTrusted(p.Hosts[n])
		}
	}
}

func stopAgents(hosts ...int) func(p *play) {
	return func(p *play) {
		eachAgent(func(a *lab.Agent) error { return a.Stop(p.t.Context()) }, hosts...)(p)
	}
}

// relaunchAgents has them end as `systemctl restart` does, and starts them.
func relaunchAgents(hosts ...int) func(p *play) {
	return func(p *play) {
		eachAgent(func(a *lab.Agent) error {
			err := a.Signal(syscall.SIGUSR1)
			<-a.Done()
			return err
		}, hosts...)(p)
		startAgents(hosts...)(p)
	}
}

// nextHop is where a host sends what is for an address.
func nextHop(addr, via string) check {
	return func(p *play, at place) error {
		out, err := at.try(p.t.Context(), "ip", "route", "get", addr)
		if err != nil || !strings.Contains(out, " via "+via+" ") {
			return fmt.Errorf("%s does not reach %s via %s (%w): %s", at.name, addr, via, err, out)
		}
		return nil
	}
}

// noRoutesTo is true of a host that has no route via another into a subnet.
func noRoutesTo(subnet string) check {
	return func(p *play, at place) error {
		out, err := at.try(p.t.Context(), "ip", "route", "show", "table", "all", "root", subnet)
		if err != nil || strings.Contains(out, " via ") {
			return fmt.Errorf("%s has routes into %s (%w): %s", at.name, subnet, err, out)
		}
		return nil
	}
}

// routesVia is whether a table of a host has routes of ours via others.
func routesVia(table string, want bool) check {
	return func(p *play, at place) error {
		for _, family := range []string{"-4", "-6"} {
			out, err := at.try(p.t.Context(), "sh", "-c", "ip "+family+" route show table "+table+" proto 118 || true") // an error where there is no such table
			if err != nil || strings.Contains(out, " via ") != want {
				return fmt.Errorf("table %s of %s has routes of ours via others: want %t (%w): %s", table, at.name, want, err, out)
			}
		}
		return nil
	}
}

// tells is what `gvlan status` of a host says.
func tells(words string) check {
	return func(p *play, at place) error {
		out, err := at.host.Exec(p.t.Context(), p.program, "status")
		if err != nil || !strings.Contains(out, words) {
			return fmt.Errorf("status of %s does not say %s (%w): %s", at.name, words, err, out)
		}
		return nil
	}
}

// lists is a line of `gvlan route ls`: network, prefix, next hop, interface, node.
func lists(line string) check {
	return func(p *play, at place) error {
		out, err := at.host.Exec(p.t.Context(), p.program, "route", "ls", "--format", "{{.Network}} {{.Prefix}} {{.Via}} {{.Link}} {{.Host}}")
		if err != nil || !slices.Contains(strings.Split(out, "\n"), line) {
			return fmt.Errorf("routes of %s, without %s (%w):\n%s", at.name, line, err, out)
		}
		return nil
	}
}

// node is a host's state in the cluster.
func node(name, state string) check {
	return func(p *play, at place) error {
		out, err := at.host.Exec(p.t.Context(), p.program, "node", "ls", "--json")
		var all []struct{ Node, State string }
		if err == nil {
			err = json.Unmarshal([]byte(out), &all)
		}
		for _, n := range all {
			if n.Node == name && n.State == state {
				return nil
			}
		}
		return fmt.Errorf("%s is not %s (%w): %s", name, state, err, out)
	}
}
