package kernel_test

import (
	"fmt"
	"testing"

	"gvlan/tests/lab"
)

// TestModes: what each mode and flag lets through and what it blocks, on two
// hosts. The peer is whoever else is on the LAN.
func TestModes(t *testing.T) {
	if !inUML(t) {
		return
	}
	playDocument(t, newSite(t, engines{lab.Docker28, lab.Docker20}), document{scenes: append([]scene{
		modeBridge(), modePrivate("macvlan private", "-o macvlan_mode=private", "macvlan private on eth0"),
		modePrivate("ipvlan L2 private", "-o ipvlan_flag=private", "ipvlan l2 private on eth0"),
		modeVEPA(), modePrivate("ipvlan L2 vepa", "-o ipvlan_flag=vepa", "ipvlan l2 vepa on eth0"),
		modePassthru(), modeIpvlanL2(), modeLayer3("l3"), modeLayer3("l3s"), modeOfOthers(), modeVLANs(), announcements(),
	}, hostAccessScenes()...)}, "")
}

func peerAt(addr string) []string { return []string{"peer: ip addr add " + addr + "/24 dev eth0"} }

// modeBridge: all containers of the network reach one another, on one host
// and across; broadcasts reach them all; another subnet on the same parent
// does not.
func modeBridge() scene {
	return scene{
		name: "macvlan bridge", given: peerAt("10.71.0.253"),
		rows: []row{
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0 lan1"),
			create("--subnet=10.72.0.0/24 --gateway=10.72.0.254 -o parent=eth0 lan2"),
			run("near", "--net=lan1 --ip=10.71.0.10", reaches("10.71.0.253")),
			run("next", "--net=lan1 --ip=10.71.0.11", ownMAC("eth0"), otherMAC("near"), reaches("near"),
				hears("near", "eth0", "ping -q -b -c 1 -W 1 10.71.0.255; "+untilAnswered("-c 1 10.71.0.10"),
					[]string{`10\.71\.0\.11 > 10\.71\.0\.255: ICMP echo request`, `10\.71\.0\.11 > 10\.71\.0\.10: ICMP echo request`}, nil)),
			onHost2(run("far", "--net=lan1 --ip=10.71.0.12", reaches("near"), reaches("next"), otherMAC("near"), otherMAC("next"))),
			run("apart", "--net=lan2 --ip=10.72.0.10", cannotReach("near", "next")),
			onHost2(run("apart2", "--net=lan2 --ip=10.72.0.11", reaches("apart"), cannotReach("far", "near"))),
		},
	}
}

// modePrivate: nobody on the same parent, everybody else.
func modePrivate(name, mode, described string) scene {
	return scene{
		name: name, given: peerAt("10.71.0.253"),
		rows: []row{
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0 " + mode + " lan1"),
			run("near", "--net=lan1 --ip=10.71.0.10", link("eth0", described), reaches("10.71.0.253")),
			run("next", "--net=lan1 --ip=10.71.0.11", cannotReach("near", "peer"), reaches("10.71.0.253")),
		},
	}
}

// modeVEPA: what is on the same parent is reached by way of the switch, if
// that sends back where it came from.
func modeVEPA() scene {
	hairpin := func(state string) check {
		return from("lan", typed("bridge link set dev t-h1 hairpin "+state))
	}
	return scene{
		name: "macvlan vepa", given: peerAt("10.71.0.253"),
		rows: []row{
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0 -o macvlan_mode=vepa lan1"),
			run("near", "--net=lan1 --ip=10.71.0.10", link("eth0", "macvlan vepa on eth0")),
			run("next", "--net=lan1 --ip=10.71.0.11", cannotReach("near", "peer"), reaches("10.71.0.253")),
			sh("true", hairpin("on")),
			sh("true", from("next", reaches("near"))),
			sh("true", hairpin("off")),
		},
	}
}

// modePassthru: one container has the parent to itself, and its MAC.
func modePassthru() scene {
	var before string
	return scene{
		name: "macvlan passthru", given: peerAt("10.71.0.253"),
		rows: []row{
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0 -o macvlan_mode=passthru lan1"),
			run("near", "--net=lan1", link("eth0", "macvlan passthru on eth0"), parentsMAC("eth0"), reaches("10.71.0.253")),
			refusing(run("next", "--net=lan1"), "a passthru link takes its parent for itself"),
			// The kernel gives the card its own MAC back.
			does("note the MAC", func(p *play) { before = p.mac("eth0") }),
			sh("docker rm -f near", func(p *play, _ place) error {
				if now := p.mac("eth0"); now == before {
					return fmt.Errorf("eth0 keeps the container's MAC %s", now)
				}
				return nil
			}),
			run("again", "--net=lan1", reaches("10.71.0.253")),
		},
	}
}

// modeIpvlanL2: across hosts, with one MAC a host. What another machine has is given
// to no container, and who takes a container's address is told with his MAC address.
func modeIpvlanL2() scene {
	strangers := "ip addr add 10.71.0.1/24 dev eth0 && ip addr add 10.71.0.2/24 dev eth0 && ip addr add fd71::1/64 dev eth0 nodad && ip addr add fd71::2/64 dev eth0 nodad"
	return scene{
		name: "ipvlan L2 across hosts", given: append(peerAt("10.71.0.253"), "peer: "+strangers),
		rows: []row{
			create("--ipv6 --subnet=10.71.0.0/24 --gateway=10.71.0.254 --subnet=fd71::/64 --gateway=fd71::254 -o parent=eth0 -o kind=ipvlan lan1"),
			run("near", "--net=lan1 --ip=10.71.0.10", parentsMAC("eth0"), reaches("10.71.0.253"), address("fd71::3/64")),
			onHost2(run("far", "--net=lan1 --ip=10.71.0.11", parentsMAC("eth0"), reaches("near"), from("near", reaches("far")), knows("near", "lan1"))),
			onHost2(run("next", "--net=lan1 --ip=10.71.0.12", reaches("near"), reaches("far"), from("peer", reaches("next")))),
			run("any", "--net=lan1", address("10.71.0.3/24"), from("peer", typed("ip addr add 10.71.0.3/32 dev eth0")), later(inConflict("10.71.0.1", ""))),
			sh("true", from("peer", later(announcesInConflict("10.71.0.3", "any")))),
			does("end what is in conflict", func(p *play) {
				p.sh(p.Peer.Machine, "ip addr flush dev eth0 scope global")
				p.sh(p.Hosts[0].Machine, p.program+" conflict clear")
			}),
		},
	}
}

// modeLayer3: networks on one parent reach one another, broadcasts nobody. A
// gateway that was given is none. Who else reaches them: TestHostRoutes.
func modeLayer3(mode string) scene {
	return scene{
		name: "ipvlan " + mode,
		rows: []row{
			create("--subnet=10.71.0.0/24 -o parent=eth0 -o ipvlan_mode=" + mode + " lan1"),
			create("--subnet=10.72.0.0/24 --gateway=10.72.0.254 -o parent=eth0 -o ipvlan_mode=" + mode + " lan2"),
			run("near", "--net=lan1 --ip=10.71.0.10", link("eth0", "ipvlan "+mode+" bridge on eth0"),
				routes("default dev eth0", "10.71.0.0/24 dev eth0 src 10.71.0.10")),
			run("next", "--net=lan1 --ip=10.71.0.11",
				hears("near", "eth0", "ping -q -b -c 1 -W 1 10.71.0.255; "+untilAnswered("-c 5 -i 0.2 10.71.0.10"),
					[]string{`10\.71\.0\.11 > 10\.71\.0\.10: ICMP echo request, .*seq 5,`}, []string{`10\.71\.0\.255`, "ARP"})),
			run("other", "--net=lan2 --ip=10.72.0.10", routes("default dev eth0", "10.72.0.0/24 dev eth0 src 10.72.0.10"),
				reaches("near"), from("near", reaches("other"))),
		},
	}
}

// modeOfOthers: containers of Docker's own ipvlan driver keep their mode. The
// kernel would give them that of a new link on their parent.
func modeOfOthers() scene {
	const theirs = "docker network create -d ipvlan --subnet=10.71.0.0/24 -o parent=eth0 theirs && docker run -d --name them --network theirs busybox sleep 1000000"
	unchanged := from("them", link("eth0", "ipvlan l2 bridge on eth0"))
	return scene{
		name: "ipvlan beside Docker's own",
		rows: []row{
			create("--subnet=10.72.0.0/24 -o parent=eth0 -o ipvlan_mode=l3 routed"),
			create("--subnet=10.73.0.0/24 -o parent=eth0 -o kind=ipvlan switched"),
			sh(theirs),
			does("look into them", func(p *play) { p.adopt(p.Hosts[0], "them") }, unchanged),
			refusing(run("aa", "--net=routed"), "it already carries ipvlan l2 link eth0 on eth0: ipvlan's mode and flag belong to the parent"),
			sh("true", unchanged),
			run("bb", "--net=switched", link("eth0", "ipvlan l2 bridge on eth0")),
			sh("docker rm -f them bb && docker network rm theirs"),
			run("aa", "--net=routed", link("eth0", "ipvlan l3 bridge on eth0")),
		},
	}
}

// modeVLANs: two hosts on one trunk. The tag is on the wire, and who has
// another does not hear.
func modeVLANs() scene {
	return scene{
		name: "VLANs on a trunk",
		rows: []row{
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0.71 lan71"),
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0.72 lan72"),
			create("--subnet=10.73.0.0/24 --gateway=10.73.0.254 -o parent=eth0.100.200 qinq"),
			run("near", "--net=lan71 --ip=10.71.0.10", from("h1", link("eth0.71", "vlan 802.1Q id 71 <REORDER_HDR> on eth0"))),
			onHost2(run("far", "--net=lan71 --ip=10.71.0.11", reaches("near"),
				hears("lan", "t-h1", untilAnswered("-c 1 10.71.0.10"), []string{`vlan 71, .* 10\.71\.0\.11 > 10\.71\.0\.10: ICMP echo request`}, nil))),
			// The same subnet, in another VLAN.
			onHost2(run("apart", "--net=lan72 --ip=10.71.0.12", cannotReach("near", "far"))),
			run("apart2", "--net=lan72 --ip=10.71.0.13", reaches("apart"), cannotReach("far", "near")),
			run("deep", "--net=qinq --ip=10.73.0.10", from("h1", link("eth0.100.200", "vlan 802.1Q id 200 <REORDER_HDR> on eth0.100"))),
			onHost2(run("deep2", "--net=qinq --ip=10.73.0.11", reaches("deep"))),
		},
		after: []check{gone("eth0.71"), gone("eth0.72"), gone("eth0.100.200"), gone("eth0.100")},
	}
}
