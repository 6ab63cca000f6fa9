package kernel_test

import "slices"

// vlanPage is Docker 1.12's experimental/vlan-networks.md, "Macvlan and Ipvlan
// Network Drivers", as far as it is preserved.
func vlanPage() document {
	return document{
		title: "Macvlan and Ipvlan Network Drivers", creates: 14, runs: 23,
		mended: []string{
			mendedName, mendedIPv6, mendedNone,
			"-o parent=eth0.60 -o -o macvlan_mode=bridge: one -o too many",
			"ipvlan114 and ipvlan140 are used and not made: made as in the later page",
			"\"Multi-Subnet Macvlan\" makes an ipvlan network: made as typed",
		},
		scenes: slices.Concat([]scene{vlanPubNet(), vlanRange()}, pageDBNet(), []scene{
			pageIsolated(), vlanMacvlanTrunk(), vlanTwoSubnets(), pageIpvlanTrunk(),
			{
				name: "ipvlan L2 with two subnets",
				rows: slices.Concat([]row{also(create(page114))}, page114Rows()),
			},
			{
				name: "dual stack L2",
				rows: slices.Concat([]row{also(create(page140))}, page140Rows()),
			},
			pageOwnVLAN("eth0.40"), pageOwnVLAN("foo"),
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

// vlanTwoSubnets: in L2 the subnets of one network do not reach one another.
func vlanTwoSubnets() scene {
	return scene{
		name: "ipvlan L2 with two subnets and no parent",
		rows: []row{
			create("--subnet=192.168.210.0/24 --subnet=192.168.212.0/24 --gateway=192.168.210.254 --gateway=192.168.212.254 "+
				"-o ipvlan_mode=l2 -o scope=local ipvlan210", dummies(1)),
			run("ten", "--net=ipvlan210 --ip=192.168.210.10", routes("192.168.210.0/24 dev eth0 src 192.168.210.10")),
			also(run("eleven", "--net=ipvlan210 --ip=192.168.210.11", reaches("ten"))),
			also(run("other", "--net=ipvlan210 --ip=192.168.212.10", cannotReach("ten", "eleven"))),
		},
		after: []check{dummies(0)},
	}
}
