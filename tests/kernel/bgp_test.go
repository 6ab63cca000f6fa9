package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gvlan/tests/lab"
)

// The routers beside h1. Each is spoken with twice: by IPv4, and by IPv6, where one has
// another password and the other is of another AS than h1 was told.
const (
	bgpFRR = `
router bgp 65001
 bgp router-id 10.99.0.253
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 10.99.0.1 remote-as 65010
 neighbor 10.99.0.1 password of-the-router
 neighbor 10.99.0.1 timers connect 2
 neighbor fd99::1 remote-as 65010
 neighbor fd99::1 password another
 neighbor fd99::1 timers connect 2
 address-family ipv4 unicast
  neighbor 10.99.0.1 activate
 address-family ipv6 unicast
  neighbor 10.99.0.1 activate
  neighbor fd99::1 activate
`
	bgpBIRD = `
router id 10.99.0.254;
protocol device {}
protocol kernel { ipv4 { export all; }; }
protocol kernel { ipv6 { export all; }; }
protocol bgp four {
	local 10.99.0.254 as 65002;
	neighbor 10.99.0.1 as 65010;
	connect delay time 2;
	connect retry time 2;
	ipv4 { import all; export none; };
	ipv6 { import all; export none; };
}
protocol bgp six {
	local fd99::254 as 65009;
	neighbor fd99::1 as 65010;
	connect delay time 2;
	connect retry time 2;
	ipv6 { import all; export none; };
}
`
)

// bgpPeers are the routers as h1 is told of them.
func bgpPeers() []string {
	const password = "/etc/gvlan/bgp-password"
	args := []string{"--bgp-as", "65010"}
	for _, peer := range []string{
		"10.99.0.253,65001," + password, "10.99.0.254,65002",
		"fd99::253,65001," + password, "fd99::254,65002",
	} {
		args = append(args, "--bgp-peer", peer)
	}
	return args
}

// TestBGP: routers learn where containers are, and whoever they route for reaches those.
func TestBGP(t *testing.T) {
	if !inUML(t) {
		return
	}
	s := newSite(t, engines{lab.Docker28})
	p := newPlay(s.on(t), "")
	h1 := s.Hosts[0].Machine
	s.sh(h1, "mkdir -p /etc/gvlan && echo of-the-router >/etc/gvlan/bgp-password && chmod 600 /etc/gvlan/bgp-password")
	frr, err := lab.StartFRR(t.Context(), s.Peer.Machine, bgpFRR)
	if err != nil {
		t.Fatal(err)
	}
	bird, err := lab.StartBIRD(t.Context(), s.LAN.Machine, bgpBIRD)
	if err != nil {
		t.Fatal(err)
	}
	p.rows(does("stop the agent", stopAgents(0)), does("speak BGP", func(p *play) { p.agents[0] = p.startAgent(p.Hosts[0], bgpPeers()...) }))
	for _, part := range []struct {
		name string
		play func(p *play)
	}{
		{"routes appear and go", bgpAnnounces},
		{"nothing is lost", func(p *play) { bgpUnbroken(p, frr, bird) }},
		{"a host that goes", bgpGoes},
	} {
		t.Run(part.name, func(t *testing.T) { part.play(p.with(t)) })
		if t.Failed() {
			said, err := frr.Show(t.Context(), "show bgp neighbors", "show bgp ipv4 unicast", "show bgp ipv6 unicast")
			t.Logf("FRR says (%v):\n%s", err, said)
			said, err = bird.Show(t.Context(), "show protocols all")
			t.Logf("BIRD says (%v):\n%s", err, said)
			p.tell("h1", "peer", "lan")
			return // the others begin where this one was to end
		}
	}
}

const (
	bgpStays, bgpStays6 = "10.81.0.10", "fd81::10"
	bgpGone, bgpGone6   = "10.81.0.200", "fd81::f00"
)

// learned are checks of both routers: that their daemons told their kernels where these
// addresses are.
func learned(addrs ...string) []check { return onRouters(addrs, viaHost1) }

// forgotten are the checks that there is no such route any more.
func forgotten(addrs ...string) []check {
	return onRouters(addrs, func(addr, proto string) check { return fails(viaHost1(addr, proto)) })
}

func onRouters(addrs []string, c func(addr, proto string) check) []check {
	var all []check
	for _, addr := range addrs {
		all = append(all, from("peer", later(c(addr, "bgp"))), from("lan", later(c(addr, "bird"))))
	}
	return all
}

// viaHost1 is a route to an address, or to just that prefix, by way of h1 that a daemon
// made.
func viaHost1(dst, proto string) check {
	return func(p *play, at place) error {
		family, via, which := "-4", "10.99.0.1", "match"
		if isSix(dst) {
			family, via = "-6", "fd99::1"
		}
		if strings.Contains(dst, "/") {
			which = "exact"
		}
		out, err := at.try(p.t.Context(), "ip", family, "route", "show", which, dst, "proto", proto)
		if err != nil || !strings.Contains(out, " via "+via+" ") {
			return fmt.Errorf("%s has no route of %s to %s via %s (%w): %s", at.name, proto, dst, via, err, out)
		}
		return nil
	}
}

// bgpAnnounces: a container's start makes routes, its end takes them back.
func bgpAnnounces(p *play) {
	p.rows(
		create("--ipv6 --subnet=10.81.0.0/24 --subnet=fd81::/64 -o parent=eth1 -o ipvlan_mode=l3 routed"),
		run("stays", "--net=routed --ip="+bgpStays+" --ip6="+bgpStays6, learned(bgpStays, bgpStays6)...),
		sh("true", from("peer", reaches(bgpStays)), from("peer", reaches(bgpStays6)), from("lan", reaches(bgpStays)), from("lan", reaches(bgpStays6)),
			from("stays", reaches("10.99.0.253")), from("stays", reaches("fd99::253"))),
		run("goes", "--net=routed --ip="+bgpGone+" --ip6="+bgpGone6, learned(bgpGone, bgpGone6)...),
		sh("docker rm -f goes", slices.Concat(forgotten(bgpGone, bgpGone6), learned(bgpStays, bgpStays6))...),
	)
}

// bgpUnbroken: an agent that comes back, a router that does not speak as it was said,
// and one that comes and goes, take nothing from who speaks rightly.
func bgpUnbroken(p *play, frr *lab.FRR, bird *lab.BIRD) {
	more, answered := p.unbroken(way{"peer", bgpStays}, way{"peer", bgpStays6})
	for _, r := range []row{
		does("kill the agent", eachAgent((*lab.Agent).Kill, 0)),
		does("start it", startAgents(0), later(fresh(frr))),
		does("restart the agent", relaunchAgents(0), later(fresh(frr))),
		does("end BIRD", func(p *play) { p.fatal(bird.Kill()) }),
		does("start BIRD again", func(p *play) {
			_, err := lab.StartBIRD(p.t.Context(), p.LAN.Machine, bgpBIRD)
			p.fatal(err)
		}, learned(bgpStays, bgpStays6)...),
		sh("true", later(tells("the passwords of the two are not the same")), later(tells("of another AS than 65002"))),
		sh("true", later(fails(tells("10.99.0.253"))), later(fails(tells("10.99.0.254")))),
	} {
		p.row(r)
		more()
	}
	answered()
}

// fresh is true when FRR was told again of all that it kept while the agent was away.
func fresh(frr *lab.FRR) check {
	return func(p *play, _ place) error {
		for _, family := range []string{"ipv4", "ipv6"} {
			out, err := frr.Show(p.t.Context(), "show bgp "+family+" unicast json")
			if err != nil || !strings.Contains(out, `"10.99.0.1"`) || strings.Contains(out, `"stale":true`) {
				return fmt.Errorf("FRR has stale routes of %s (%w): %s", family, err, out)
			}
		}
		return nil
	}
}

// bgpGoes: a host that is drained takes its blocks back, and what runs there is reached
// by its own address; one whose agent is stopped for good takes everything back.
func bgpGoes(p *play) {
	blocks, single := []string{"10.81.0.0/26", "fd81::/122"}, []string{bgpStays + "/32", bgpStays6 + "/128"}
	_, answered := p.unbroken(way{"peer", bgpStays}, way{"peer", bgpStays6})
	p.rows(
		sh(p.program+" node drain h1", slices.Concat(learned(single...), forgotten(blocks...))...),
		sh(p.program+" node drain --undo h1", slices.Concat(learned(blocks...), forgotten(single...))...),
	)
	answered()
	p.rows(
		does("stop the agent", stopAgents(0), forgotten(bgpStays, bgpStays6)...),
		does("start it", startAgents(0), learned(bgpStays, bgpStays6)...),
		sh("docker rm -f stays", forgotten(bgpStays, bgpStays6)...),
	)
}
