package kernel_test

import "slices"

// ipvlanPage is Docker 1.13's experimental/vlan-networks.md, "Ipvlan Network
// Driver".
func ipvlanPage() document {
	return document{
		title: ipvlanTitle, creates: 14, runs: 28,
		mended: []string{
			mendedName, mendedIPv6, mendedNone,
			"--ip4: Docker's flag is --ip",
			"--net=v6ipvlan139 --ip6=2001:db8:abc2::51 with the output of a container on ipvlan140: run as typed, the output is looked for on ipvlan140",
			"the fourth container of ipnet110 is given the address of the third: refused while that runs, run when it is gone",
		},
		scenes: slices.Concat(pageDBNet(), []scene{
			pageIsolated(), pageIpvlanTrunk(),
			{
				name:  "ipvlan L2 with two subnets",
				rows:  slices.Concat([]row{create(page114, link("eth0.114", "vlan 802.1Q id 114 <REORDER_HDR> on eth0"))}, page114Rows()),
				after: []check{gone("eth0.114")},
			},
			ipvlanLayer3(), ipvlanDualStack(), ipvlanLayer3DualStack(),
			pageOwnVLAN("eth0.40", vlanTitle), pageOwnVLAN("foo", ipvlanTitle),
		}),
	}
}

// ipvlanLayer3 has no parent, and its subnets reach one another all the same.
func ipvlanLayer3() scene {
	return scene{
		name: "ipvlan L3 without a parent",
		rows: []row{
			create("--subnet=192.168.214.0/24 --subnet=10.1.214.0/24 -o ipvlan_mode=l3 -o scope=local ipnet210", dummies(1)),
			run("ten", "--net=ipnet210 --ip=192.168.214.10", link("eth0", "ipvlan l3 bridge on a dummy of ours")),
			run("other", "--net=ipnet210 --ip=10.1.214.10", address("10.1.214.10/24")),
			pings("--net=ipnet210 --ip=192.168.214.9", "ping", 2, "10.1.214.10"),
			pings("--net=ipnet210 --ip=10.1.214.9", "ping", 2, "192.168.214.10"),
		},
		after: []check{dummies(0)},
	}
}

func ipvlanDualStack() scene {
	return scene{
		name: "dual stack L2 on VLANs 139 and 140",
		rows: slices.Concat([]row{
			create("--ipv6 --subnet=2001:db8:abc2::/64 --gateway=2001:db8:abc2::22 -o kind=ipvlan -o parent=eth0.139 v6ipvlan139",
				link("eth0.139", "vlan 802.1Q id 139 <REORDER_HDR> on eth0")),
			run("one", "--net=v6ipvlan139", address("2001:db8:abc2::1/64"), inSubnet("172.16.0.0/12"),
				routes6("2001:db8:abc2::/64 dev eth0", "default via 2001:db8:abc2::22 dev eth0")),
			run("two", "--net=v6ipvlan139", address("2001:db8:abc2::2/64"), reaches("2001:db8:abc2::1")),
			create(page140, link("eth0.140", "vlan 802.1Q id 140 <REORDER_HDR> on eth0")),
			run("fiftyone", "--net=v6ipvlan139 --ip6=2001:db8:abc2::51", address("2001:db8:abc2::51/64"), reaches("2001:db8:abc2::1")),
		}, page140Rows()),
		after: []check{gone("eth0.139"), gone("eth0.140")},
	}
}

func ipvlanLayer3DualStack() scene {
	fourth := "--net=ipnet110 --ip6=2001:db8:abc6::50 --ip=192.168.112.50"
	again := "--net=ipnet110 --ip6=2001:db8:abc6::10"
	return scene{
		name: "dual stack L3", given: pageLAN(),
		rows: []row{
			create("--ipv6 --subnet=192.168.110.0/24 --subnet=192.168.112.0/24 --subnet=2001:db8:abc6::/64 -o parent=eth0 -o ipvlan_mode=l3 ipnet110"),
			run("one", "--net=ipnet110", link("eth0", "ipvlan l3 bridge on eth0"), either(
				[]check{routes("default dev eth0", "192.168.110.0/24 dev eth0 src 192.168.110.2")},
				[]check{routes("default dev eth0", "192.168.112.0/24 dev eth0 src 192.168.112.2")})),
			run("two", again, address("2001:db8:abc6::10/64"), routes6("2001:db8:abc6::/64 dev eth0", "default dev eth0")),
			run("three", "--net=ipnet110 --ip=192.168.112.50", flags("eth0", "BROADCAST,MULTICAST,NOARP,UP,LOWER_UP"),
				routes("default dev eth0", "192.168.112.0/24 dev eth0 src 192.168.112.50"),
				reaches("one"), reaches("2001:db8:abc6::10")),
			also(refusing(run("four", fourth), "is in use by container three")),
			sh("docker rm -f three"),
			run("four", fourth, address("192.168.112.50/24"), address("2001:db8:abc6::50/64"), reaches("one"), reaches("2001:db8:abc6::10")),
			// The bug the page suspects: an IPv6 address that is asked for is
			// free again when its container is gone.
			sh("docker rm -f two"),
			also(run("five", again, address("2001:db8:abc6::10/64"), reaches("2001:db8:abc6::50"))),
			sh("docker stop -t 0 five && docker start five", typed("docker rm -f five")),
			also(run("six", again, address("2001:db8:abc6::10/64"), reaches("2001:db8:abc6::50"))),
		},
		after: []check{there("eth0")},
	}
}
