package kernel_test

import (
	"testing"

	"gvlan/tests/lab"
)

// notes is "Macvlan, Ipvlan and 802.1q Trunk Driver Notes", the oldest guide,
// from before the drivers were part of Docker. Its option names are today's
// old spellings, which are accepted.
func notes() document {
	return document{
		title: "Macvlan, Ipvlan and 802.1q Trunk Driver Notes", creates: 9, runs: 15,
		mended: []string{
			"--ipvlan_mode=l2 without -o: Docker's command line knows no such flag; -o --ipvlan_mode=l2",
			"--subnet=fe90::/64 without --ipv6: Docker ignores the subnet then; --ipv6 added",
			"ping -6 fe90::1: fe90::/64 is link-local, and the kernel wants to be told the link; fe90::1%eth0",
			"the container should reach 192.168.1.249: that is its own host, as the text says elsewhere; the remote host 192.168.1.251 is meant",
		},
		scenes: []scene{
			notesUntagged("macnet100", "", "macvlan bridge on eth0", ownMAC("eth0")),
			notesUntagged("ipnet100", "-o kind=ipvlan ", "ipvlan l2 bridge on eth0", parentsMAC("eth0")),
			notesMacvlanTrunk(), notesIpvlanTrunk(), notesLayer3(), notesRemoteHost(), notesIPv6(), notesOwnVLAN(),
		},
	}
}

// TestOneHost plays the two oldest texts, and what else one host shows; last
// what is lost and comes back.
func TestOneHost(t *testing.T) {
	if !inUML(t) {
		return
	}
	s := newSite(t, engines{lab.Docker28})
	t.Run("names without nftables", func(t *testing.T) { namesWithoutNftables(newPlay(s.on(t), "")) })
	playDocument(t, s, notes(), "")
	playDocument(t, s, blog(), "")
	playDocument(t, s, loss(), "")
}

// lan1 is the LAN of the guides' pictures: the host's eth0 has an address in
// 192.168.1.0/24, and somebody else is there too.
func lan1(host string) []string {
	return []string{"h1: ip addr add " + host + "/24 dev eth0", "peer: ip addr add 192.168.1.253/24 dev eth0"}
}

// notesUntagged: macvlan bridge and ipvlan L2 on eth0, to be told apart by
// their MACs only.
func notesUntagged(name, kind, link0 string, mac check) scene {
	return scene{
		name: name, given: lan1("192.168.1.251"),
		rows: []row{
			create("--subnet=192.168.1.0/24 --gateway=192.168.1.1 " + kind + "-o host_iface=eth0 " + name),
			run("one", "--net="+name,
				link("eth0", link0), mac, address("192.168.1.2/24"),
				routes("default via 192.168.1.1 dev eth0", "192.168.1.0/24 dev eth0 src 192.168.1.2"),
				reaches("192.168.1.253"), cannotReach("192.168.1.251", "peer")),
		},
		after: []check{there("eth0")},
	}
}

func notesMacvlanTrunk() scene {
	return scene{
		name: "macvlan bridge on VLANs 50 and 60",
		given: []string{
			"peer: ip link add link eth0 name eth0.50 type vlan id 50 && ip addr add 192.168.50.253/24 dev eth0.50 && ip link set eth0.50 up",
		},
		rows: []row{
			create("--subnet=192.168.50.0/24 --gateway=192.168.50.1 -o host_iface=eth0.50 macvlan50",
				link("eth0.50", "vlan 802.1Q id 50 <REORDER_HDR> on eth0")),
			run("macvlan_test5", "--net=macvlan50 --name macvlan_test5",
				link("eth0", "macvlan bridge on eth0.50"), address("192.168.50.2/24"),
				routes("default via 192.168.50.1 dev eth0", "192.168.50.0/24 dev eth0 src 192.168.50.2"),
				reaches("192.168.50.253")),
			sh("ip addr add 192.168.50.251/24 dev eth0.50"),
			run("macvlan_test6", "--net=macvlan50 --name macvlan_test6",
				reaches("macvlan_test5"), cannotReach("192.168.50.251", "peer")),

			create("--subnet=192.168.60.0/24 --gateway=192.168.60.1 -o host_iface=eth0.60 -o --macvlan_mode=bridge macvlan60",
				link("eth0.60", "vlan 802.1Q id 60 <REORDER_HDR> on eth0")),
			run("macvlan_test7", "--net=macvlan60 --name macvlan_test7",
				link("eth0", "macvlan bridge on eth0.60"), address("192.168.60.2/24")),
			run("macvlan_test8", "--net=macvlan60 --name macvlan_test8",
				reaches("macvlan_test7"), cannotReach("macvlan_test5", "macvlan_test6")),
		},
		after: []check{gone("eth0.50"), gone("eth0.60"), there("eth0")},
	}
}

func notesIpvlanTrunk() scene {
	return scene{
		name: "ipvlan L2 on VLANs 20 and 30",
		rows: []row{
			create("--subnet=192.168.20.0/24 --gateway=192.168.20.1 -o kind=ipvlan -o host_iface=eth0.20 ipvlan20",
				link("eth0.20", "vlan 802.1Q id 20 <REORDER_HDR> on eth0")),
			run("ivlan_test1", "--net=ipvlan20 --name ivlan_test1",
				link("eth0", "ipvlan l2 bridge on eth0.20"), parentsMAC("eth0.20"), address("192.168.20.2/24")),
			run("ivlan_test2", "--net=ipvlan20 --name ivlan_test2", reaches("ivlan_test1")),

			create("--subnet=192.168.30.0/24 --gateway=192.168.30.1 -o host_iface=eth0:30 -o --ipvlan_mode=l2 ipvlan30",
				link("eth0.30", "vlan 802.1Q id 30 <REORDER_HDR> on eth0")),
			run("ivlan_test3", "--net=ipvlan30 --name ivlan_test3",
				link("eth0", "ipvlan l2 bridge on eth0.30"),
				routes("default via 192.168.30.1 dev eth0", "192.168.30.0/24 dev eth0 src 192.168.30.2")),
			run("ivlan_test4", "--net=ipvlan30 --name ivlan_test4",
				reaches("ivlan_test3"), cannotReach("ivlan_test1", "ivlan_test2")),
		},
		after: []check{gone("eth0.20"), gone("eth0.30"), there("eth0")},
	}
}

func notesLayer3() scene {
	return scene{
		name: "ipvlan L3", given: lan1("192.168.1.251"),
		rows: []row{
			create("--subnet=192.168.120.0/24 -o host_iface=eth0 -o ipvlan_mode=l3 ipvlan120"),
			run("one", "--net=ipvlan120",
				link("eth0", "ipvlan l3 bridge on eth0"), flags("eth0", "BROADCAST,MULTICAST,NOARP,UP,LOWER_UP"),
				routes("default dev eth0", "192.168.120.0/24 dev eth0 src 192.168.120.2")),
			run("ten", "--net=ipvlan120 --ip=192.168.120.10", address("192.168.120.10/24"), reaches("one")),
			// "The field is ignored if one is specified."
			also(create("--subnet=192.168.121.0/24 --gateway=192.168.121.1 -o host_iface=eth0 -o ipvlan_mode=l3 ipvlan121")),
			also(run("other", "--net=ipvlan121", routes("default dev eth0", "192.168.121.0/24 dev eth0 src 192.168.121.2"),
				reaches("one"), from("one", reaches("other")))),
		},
		after: []check{there("eth0")},
	}
}

// notesRemoteHost: host1 is h1, host2 is the peer.
func notesRemoteHost() scene {
	return scene{
		name:  "ipvlan L3 and a remote host",
		given: []string{"h1: ip addr add 192.168.1.249/24 dev eth0", "peer: ip addr add 192.168.1.251/24 dev eth0"},
		rows: []row{
			also(create("--subnet=192.168.130.0/24 -o host_iface=eth0 -o ipvlan_mode=l3 ipvlan130")),
			also(run("one", "--net=ipvlan130", address("192.168.130.2/24"), from("peer", cannotReach("one", "one")))),
			sh("true", from("peer", typed("ip route add 192.168.130.0/24 via 192.168.1.249"))),
			sh("true", from("peer", reaches("one")), from("one", reaches("192.168.1.251"))),
			sh("true", from("peer", typed("ip route del 192.168.130.0/24"))),
		},
	}
}

func notesIPv6() scene {
	return scene{
		name: "IPv6",
		rows: []row{
			create("--ipv6 --subnet=fe90::/64 --gateway=fe90::22 -o host_iface=eth0 macnetv6"),
			run("one", "--net=macnetv6", address("fe90::1/64"), inSubnet("172.16.0.0/12"),
				routes6("default via fe90::22 dev eth0", "fe90::/64 dev eth0")),
			also(run("two", "--net=macnetv6", address("fe90::2/64"), reaches("fe90::1%eth0"), reaches("one"))),
		},
	}
}

func notesOwnVLAN() scene {
	return scene{
		name:  "a VLAN link made by hand",
		given: []string{"h1: ip link add link eth0 name eth0.40 type vlan id 40 && ip link set eth0.40 up"},
		rows: []row{
			create("--subnet=192.168.40.0/24 --gateway=192.168.40.1 -o kind=ipvlan -o host_iface=eth0.40 ipvlan40"),
			run("ivlan_test5", "--net=ipvlan40 --name ivlan_test5", link("eth0", "ipvlan l2 bridge on eth0.40")),
			run("ivlan_test6", "--net=ipvlan40 --name ivlan_test6", reaches("ivlan_test5")),
		},
		after: []check{link("eth0.40", "vlan 802.1Q id 40 <REORDER_HDR> on eth0")},
	}
}
