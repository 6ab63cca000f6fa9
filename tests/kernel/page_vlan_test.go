package kernel_test

import "slices"

// vlanPage is Docker 1.12's experimental/vlan-networks.md, "Macvlan and Ipvlan
// Network Drivers", as far as it is preserved.
func vlanPage() document {
	return document{
		title: vlanTitle, creates: 14, runs: 23,
		mended: []string{
			mendedName, mendedIPv6, mendedNone,
			"-o parent=eth0.60 -o -o macvlan_mode=bridge: one -o too many",
			"ipvlan114 and ipvlan140 are used and not made: made as in the later page",
			"\"Multi-Subnet Macvlan\" makes an ipvlan network: made as typed",
		},
		scenes: slices.Concat([]scene{vlanPubNet(), vlanRange()}, pageDBNet(), []scene{
			pageIsolated(), vlanMacvlanTrunk(), vlanTwoSubnets(), pageIpvlanTrunk(),
			{
				name: "two subnets on a VLAN", with: ipvlanTitle,
				rows: slices.Concat([]row{also(create(page114))}, page114Rows()),
			},
			{name: "two subnets of macvlan on a VLAN", rows: vlanTwin114(), after: []check{gone("eth0.115")}},
			vlanDualStack(),
			{
				name: "dual stack L2", with: ipvlanTitle,
				rows: slices.Concat([]row{also(create(page140))}, page140Rows()),
			},
			pageOwnVLAN("eth0.40", vlanTitle), pageOwnVLAN("foo", ipvlanTitle),
		}),
	}
}

func vlanPubNet() scene {
	return scene{
		name:  "macvlan bridge",
		given: []string{"h1: ip addr add 172.16.86.250/24 dev eth0", "peer: ip addr add 172.16.86.253/24 dev eth0"},
		rows: []row{
			create("--subnet=172.16.86.0/24 --gateway=172.16.86.1 -o parent=eth0 pub_net"),
			run("ten", "--net=pub_net --ip=172.16.86.10", link("eth0", "macvlan bridge on eth0"), ownMAC("eth0"),
				routes("default via 172.16.86.1 dev eth0", "172.16.86.0/24 dev eth0 src 172.16.86.10"),
				reaches("172.16.86.253"), cannotReach("172.16.86.250", "peer")),
			// "Addresses can be excluded by using the --aux-address flag."
			also(create("--subnet=172.16.86.0/24 --gateway=172.16.86.1 --aux-address=host=172.16.86.250 -o parent=eth0 pub_net2")),
			also(refusing(run("none", "--net=pub_net2 --ip=172.16.86.250"), "is the auxiliary address host of network pub_net2")),
		},
		after: []check{there("eth0")},
	}
}

func vlanRange() scene {
	return scene{
		name: "macvlan with a range",
		rows: []row{
			create("--subnet=192.168.32.0/24 --ip-range=192.168.32.128/25 --gateway=192.168.32.254 -o parent=eth0 macnet32"),
			also(run("one", "--net=macnet32", address("192.168.32.128/24"))),
		},
	}
}

func vlanMacvlanTrunk() scene {
	return scene{
		name: "macvlan bridge on VLANs 50 and 60",
		rows: []row{
			create("--subnet=192.168.50.0/24 --gateway=192.168.50.1 -o parent=eth0.50 macvlan50",
				link("eth0.50", "vlan 802.1Q id 50 <REORDER_HDR> on eth0")),
			run("macvlan_test5", "--net=macvlan50 --name macvlan_test5", link("eth0", "macvlan bridge on eth0.50"), ownMAC("eth0.50")),
			run("macvlan_test6", "--net=macvlan50 --name macvlan_test6", reaches("macvlan_test5")),

			create("--subnet=192.168.60.0/24 --gateway=192.168.60.1 -o parent=eth0.60 -o macvlan_mode=bridge macvlan60",
				link("eth0.60", "vlan 802.1Q id 60 <REORDER_HDR> on eth0")),
			run("macvlan_test7", "--net=macvlan60 --name macvlan_test7", link("eth0", "macvlan bridge on eth0.60")),
			run("macvlan_test8", "--net=macvlan60 --name macvlan_test8", reaches("macvlan_test7"), cannotReach("macvlan_test5", "macvlan_test6")),
		},
		after: []check{gone("eth0.50"), gone("eth0.60"), there("eth0")},
	}
}

// vlanTwoSubnets: in L2 the subnets of one network do not reach one another,
// nor "in MacVlan/Bridge mode", which the example's title speaks of and its
// command does not.
func vlanTwoSubnets() scene {
	return scene{
		name: "two subnets and no parent",
		rows: []row{
			create("--subnet=192.168.210.0/24 --subnet=192.168.212.0/24 --gateway=192.168.210.254 --gateway=192.168.212.254 "+
				"-o ipvlan_mode=l2 -o scope=local ipvlan210", dummies(1)),
			run("ten", "--net=ipvlan210 --ip=192.168.210.10", routes("192.168.210.0/24 dev eth0 src 192.168.210.10")),
			also(run("eleven", "--net=ipvlan210 --ip=192.168.210.11", reaches("ten"))),
			also(run("other", "--net=ipvlan210 --ip=192.168.212.10", cannotReach("ten", "eleven"))),
			also(create("--subnet=192.168.211.0/24 --subnet=192.168.213.0/24 --gateway=192.168.211.254 --gateway=192.168.213.254 "+
				"-o macvlan_mode=bridge -o scope=local macvlan210", dummies(2))),
			also(run("mac", "--net=macvlan210 --ip=192.168.211.10", link("eth0", "macvlan bridge on a dummy of ours"),
				routes("192.168.211.0/24 dev eth0 src 192.168.211.10"))),
			also(run("mac2", "--net=macvlan210 --ip=192.168.213.10", address("192.168.213.10/24"), cannotReach("mac", "mac"))),
			also(run("mac3", "--net=macvlan210 --ip=192.168.213.11", reaches("mac2"), cannotReach("mac", "mac"))),
		},
		after: []check{dummies(0)},
	}
}

// vlanTwin114: "This same multi-subnet example is also valid for Macvlan
// bridge mode."
func vlanTwin114() []row {
	return []row{
		also(create("--subnet=192.168.115.0/24 --subnet=192.168.117.0/24 --gateway=192.168.115.254 --gateway=192.168.117.254 "+
			"-o parent=eth0.115 -o macvlan_mode=bridge macvlan114", link("eth0.115", "vlan 802.1Q id 115 <REORDER_HDR> on eth0"))),
		also(run("mac", "--net=macvlan114 --ip=192.168.115.10", link("eth0", "macvlan bridge on eth0.115"), address("192.168.115.10/24"),
			routes("default via 192.168.115.254 dev eth0", "192.168.115.0/24 dev eth0 src 192.168.115.10"))),
		also(run("mac2", "--net=macvlan114 --ip=192.168.115.11", reaches("mac"))),
		also(run("mac3", "--net=macvlan114 --ip=192.168.117.10",
			routes("default via 192.168.117.254 dev eth0", "192.168.117.0/24 dev eth0 src 192.168.117.10"),
			cannotReach("mac", "mac2"))),
	}
}

// vlanDualStack is dual-stack macvlan on a VLAN. Of this example the page as
// preserved has what the second container shows: its addresses and routes.
func vlanDualStack() scene {
	return scene{
		name: "dual stack macvlan on a VLAN",
		rows: []row{
			also(create("--ipv6 --subnet=192.168.216.0/24 --subnet=192.168.218.0/24 --gateway=192.168.216.1 --gateway=192.168.218.1 "+
				"--subnet=2001:db8:abc8::/64 --gateway=2001:db8:abc8::10 -o parent=eth0.218 -o macvlan_mode=bridge macvlan216",
				link("eth0.218", "vlan 802.1Q id 218 <REORDER_HDR> on eth0"))),
			also(run("first", "--net=macvlan216 --ip=192.168.216.10", address("2001:db8:abc8::1/64"))),
			also(run("second", "--net=macvlan216 --ip=192.168.216.11", link("eth0", "macvlan bridge on eth0.218"), ownMAC("eth0.218"),
				address("192.168.216.11/24"), address("2001:db8:abc8::2/64"),
				routes("default via 192.168.216.1 dev eth0", "192.168.216.0/24 dev eth0 src 192.168.216.11"),
				routes6("2001:db8:abc8::/64 dev eth0", "default via 2001:db8:abc8::10 dev eth0"),
				reaches("192.168.216.10"), reaches("2001:db8:abc8::1"))),
		},
		after: []check{gone("eth0.218")},
	}
}
