package kernel_test

import (
	"testing"

	"gvlan/tests/lab"
)

// TestSharing: what can hang from one parent together, judged at container
// start by what runs there, and what can be a parent at all.
func TestSharing(t *testing.T) {
	if !inUML(t) {
		return
	}
	playDocument(t, newSite(t, engines{lab.Docker20}), document{scenes: []scene{
		shareKinds(), sharePassthru(), shareIpvlanModes(), shareWithOthers(), shareVLAN(),
		parentRefused(), parentForms(), parentWithoutLAN(), parentMTU(), checksFail(),
	}}, "")
}

const (
	lanA = "--subnet=10.81.0.0/24 --gateway=10.81.0.254 "
	lanB = "--subnet=10.82.0.0/24 --gateway=10.82.0.254 "
)

func shareKinds() scene {
	return scene{
		name: "macvlan beside ipvlan",
		rows: []row{
			create(lanA + "-o parent=eth0 macs"),
			create(lanB + "-o parent=eth0 -o kind=ipvlan ips"),
			run("mac", "--net=macs"),
			refusing(run("ip", "--net=ips"), "network ips (ipvlan l2) cannot start a container on eth0 of node h1 while network macs (macvlan bridge) has one there: macvlan and ipvlan cannot share a parent"),
			sh("docker rm -f mac"),
			run("ip", "--net=ips", link("eth0", "ipvlan l2 bridge on eth0")),
			refusing(run("mac", "--net=macs"), "while network ips (ipvlan l2) has one there: macvlan and ipvlan cannot share a parent"),
		},
	}
}

func sharePassthru() scene {
	const why = "a passthru link takes its parent for itself"
	return scene{
		name: "passthru beside anything",
		rows: []row{
			create(lanA + "-o parent=eth0 macs"),
			create(lanB + "-o parent=eth0 -o macvlan_mode=passthru alone"),
			run("mac", "--net=macs"),
			refusing(run("all", "--net=alone"), "while network macs (macvlan bridge) has one there: "+why),
			sh("docker rm -f mac"),
			run("all", "--net=alone", link("eth0", "macvlan passthru on eth0")),
			refusing(run("mac", "--net=macs"), "while network alone (macvlan passthru) has one there: "+why),
		},
	}
}

// shareIpvlanModes: the kernel would take the running containers along.
func shareIpvlanModes() scene {
	const why = "mode and flag of ipvlan belong to the parent"
	return scene{
		name: "ipvlan modes",
		rows: []row{
			create(lanA + "-o parent=eth0 -o ipvlan_mode=l2 two"),
			create(lanB + "-o parent=eth0 -o ipvlan_mode=l3 three"),
			create("--subnet=10.83.0.0/24 -o parent=eth0 -o ipvlan_flag=private flagged"),
			create("--subnet=10.84.0.0/24 -o parent=eth0 -o kind=ipvlan same"),
			run("aa", "--net=two"),
			refusing(run("bb", "--net=three"), "while network two (ipvlan l2) has one there: "+why),
			refusing(run("bb", "--net=flagged"), "network flagged (ipvlan l2 private) cannot start a container on eth0 of node h1 while network two (ipvlan l2) has one there: "+why),
			run("cc", "--net=same", from("aa", link("eth0", "ipvlan l2 bridge on eth0"))),
		},
	}
}

// shareWithOthers: links that are not ours are in the way just the same, seen
// or unseen.
func shareWithOthers() scene {
	return scene{
		name: "links of others",
		rows: []row{
			create(lanA + "-o parent=eth0 macs"),
			sh("ip link add link eth0 name other type ipvlan mode l2"),
			refusing(run("mac", "--net=macs"), "it already carries ipvlan l2 link other on eth0: macvlan and ipvlan cannot share a parent"),
			sh("ip netns add away && ip link set other netns away"),
			refusing(run("mac", "--net=macs"), "macvlan and ipvlan cannot share a parent, nor share it with a bond, bridge or switch"),
			sh("ip -n away link del other && ip netns del away"),
			run("mac", "--net=macs", link("eth0", "macvlan bridge on eth0")),
		},
	}
}

// shareVLAN: the last user takes the link along, whoever was first.
func shareVLAN() scene {
	return scene{
		name: "a VLAN link of two networks",
		rows: []row{
			create(lanA + "-o parent=eth0.82 first"),
			create(lanB + "-o parent=eth0.82 second"),
			run("bb", "--net=second"),
			sh("docker network rm first"),
			sh("true", there("eth0.82"), from("bb", link("eth0", "macvlan bridge on eth0.82"))),
			sh("docker rm -f bb && docker network rm second"),
			sh("true", gone("eth0.82")),
		},
	}
}

// parentRefused: what can never be a parent is refused when the network is
// made, what is not there yet when a container starts.
func parentRefused() scene {
	return scene{
		name: "no parents",
		given: []string{
			"h1: ip link add bond0 type bond mode active-backup && ip link add leg type dummy && ip link set leg master bond0 && ip link set bond0 up",
			"h1: ip link add bridge0 type bridge && ip link add port type dummy && ip link set port master bridge0",
		},
		rows: []row{
			refusing(create(lanA+"-o parent=lo nope"), "lo is the loopback, which has no LAN behind it"),
			refusing(create(lanA+"-o parent=leg nope"), "leg is a port of bond0, which takes all its packets: name bond0 instead"),
			refusing(create(lanA+"-o parent=port nope"), "port is a port of bridge0, which takes all its packets: name bridge0 instead"),
			refusing(create(lanA+"-o parent=eth0.4095 nope"), "VLAN id 4095 is not in 1-4094"),
			refusing(create(lanA+"-o parent=, nope"), "no parent interface was passed"),
			refusing(create(lanA+"-o parnet=eth0 nope"), "did you mean parent?"),
			create(lanA + "-o parent=bond7,eth9.5 later"),
			refusing(run("one", "--net=later"), "no usable parent interface on node h1: bond7 (no such interface), eth9.5 (its master eth9 does not exist); this host has bond0, bridge0 (down), eth0, eth1"),
			// The masters are good parents, of any type, and so are their VLANs.
			create(lanB + "-o parent=bond7,bond0 bonded"),
			run("two", "--net=bonded", link("eth0", "macvlan bridge on bond0")),
			create("--subnet=10.83.0.0/24 -o parent=bond0.83 tagged", link("bond0.83", "vlan 802.1Q id 83 <REORDER_HDR> on bond0")),
			create("--subnet=10.84.0.0/24 -o parent=bridge0.84 bridged", there("bridge0.84")),
		},
		after: []check{gone("bond0.83"), gone("bridge0.84"), there("bond0"), there("bridge0"), there("leg"), there("port")},
	}
}

// parentForms: candidates that are no names.
func parentForms() scene {
	return scene{
		name:  "other ways to say a parent",
		given: []string{"h1: ip link add link eth0 name storage type vlan id 94 && ip link set storage up"},
		rows: []row{
			create("--subnet=10.83.0.0/24 -o parent=default-route.91 a", link("eth1.91", "vlan 802.1Q id 91 <REORDER_HDR> on eth1")),
			create("--subnet=10.84.0.0/24 -o parent=eth*.92,!eth0 b", link("eth1.92", "vlan 802.1Q id 92 <REORDER_HDR> on eth1"), gone("eth0.92")),
			create("--subnet=10.85.0.0/24 -o parent=subnet:10.99.0.0/24 c"),
			run("c1", "--net=c", link("eth0", "macvlan bridge on eth1")),
			// A VLAN id that is there is used under the name it has.
			create("--subnet=10.86.0.0/24 -o parent=eth0.94 d", gone("eth0.94")),
			run("d1", "--net=d", link("eth0", "macvlan bridge on storage")),
		},
		after: []check{gone("eth1.91"), gone("eth1.92"), there("storage")},
	}
}

// parentWithoutLAN: --internal takes a dummy, whatever the parent.
func parentWithoutLAN() scene {
	return scene{
		name: "internal with a parent", given: peerAt("10.81.0.253"),
		rows: []row{
			create(lanA+"--internal -o parent=eth0.93 inside", dummies(1), gone("eth0.93")),
			run("aa", "--net=inside", link("eth0", "macvlan bridge on a dummy of ours"), routes("10.81.0.0/24 dev eth0 src 10.81.0.1"), cannotReach("10.81.0.253", "peer")),
			run("bb", "--net=inside", reaches("aa")),
		},
		after: []check{dummies(0)},
	}
}

func parentMTU() scene {
	return scene{
		name:  "MTU",
		given: []string{"h1: ip link set eth0 mtu 1400"},
		rows: []row{
			create(lanA+"-o parent=eth0.95 follows", mtu("eth0.95", 1400)),
			run("aa", "--net=follows", mtu("eth0", 1400)),
			create(lanB + "-o parent=eth0.95 -o mtu=1300 smaller"),
			run("bb", "--net=smaller", mtu("eth0", 1300), from("h1", mtu("eth0.95", 1400))),
			sh("docker rm -f aa bb && docker network rm follows smaller && ip link set eth0 mtu 1500"),
		},
	}
}

// checksFail: every check can tell that something is not as it should be.
func checksFail() scene {
	return scene{
		name: "checks see what is wrong", given: peerAt("10.81.0.253"),
		rows: []row{
			create(lanA+"-o parent=eth0 lan", fails(gone("eth0")), fails(there("eth7")), fails(dummies(1)), fails(link("eth0", "dummy"))),
			run("one", "--net=lan",
				fails(link("eth0", "macvlan private on eth0")), fails(link("eth0", "macvlan bridge on eth1")), fails(flags("eth0", "UP")),
				fails(address("10.81.0.2/24")), fails(inSubnet("10.82.0.0/16")), fails(routes()), fails(routes6("default dev eth0")), fails(mtu("eth0", 1400)),
				fails(parentsMAC("eth0")), fails(otherMAC("one")), fails(from("peer", ownMAC("eth0"))),
				fails(hurried(reaches("10.81.0.99"))), fails(hurried(reachesEach("10.81.0.99", 4))), fails(hurried(cannotReach("10.81.0.99", "peer"))),
				fails(cannotReach("10.81.0.253", "peer")), fails(hurried(knows("nobody", "lan"))),
				// The second ping is told by its size: the answer to the first comes before it.
				fails(hears("peer", "eth0", untilAnswered("-c 1 10.81.0.253")+"; "+untilAnswered("-c 1 -s 99 10.81.0.253"), []string{"> 10.81.0.253: ICMP echo request.* length 107"}, []string{"10.81.0.253 > .*: ICMP echo re"})),
				fails(typed("false")), fails(either([]check{gone("eth0")}, []check{there("eth7")}))),
			does("lose a ping", func(p *play) {
				pings, err := p.stream(way{"one", "10.81.0.253"})
				p.fatal(err)
				p.sh(p.LAN.Machine, "ip link set t-peer down && sleep 0.5 && ip link set t-peer up")
				if err := pings.end(p.patience); err == nil {
					p.t.Error("pings that were sent into a cut cable were all answered")
				}
			}),
		},
	}
}
