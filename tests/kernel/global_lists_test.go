package kernel_test

// parentLists are the guide's eight "tests for parent lists with various
// whitespaces and null commas". Each network is also used on the second host.
func parentLists() []scene {
	const (
		two = "--subnet=192.168.1.0/24 --subnet=192.168.10.0/24 --gateway=192.168.1.1 --gateway=192.168.10.1 "
		one = "--subnet=192.168.1.0/24 --gateway=192.168.1.254 "
	)
	return []scene{
		parentList("test 1", "mac1", two+`-o parent=eth0 -o parent="bond0,  eth0,  eth1"`, "192.168.1.1", "eth0"),
		parentList("test 2: no quotes and an extra comma", "mac2", one+"-o parent=bond0,eth1,eth0,", "192.168.1.254", "eth1"),
		parentList("test 3: extra white space", "mac3", two+`-o parent="bond0,  eth1,  eth0,"`, "192.168.1.1", "eth1"),
		parentList("test 4: a single parent", "mac4", two+"-o parent=eth0", "192.168.1.1", "eth0"),
		parentList("test 5: an interface that is not there", "mac5", two+`-o parent="toothbrush, eth1, eth0"`, "192.168.1.1", "eth1"),
		parentListOfHosts(), parentListOfVLANs(), parentListMissing(),
	}
}

// parentList: the first of the list that a host has is taken.
func parentList(name, network, text, gateway, parent string) scene {
	return scene{
		name: name,
		rows: []row{
			create(text + " -o macvlan_mode=bridge " + network),
			run("ten", "--net="+network+" --ip=192.168.1.10", link("eth0", "macvlan bridge on "+parent),
				routes("default via "+gateway+" dev eth0", "192.168.1.0/24 dev eth0 src 192.168.1.10")),
			also(onHost2(run("far", "--net="+network+" --ip=192.168.1.11", link("eth0", "macvlan bridge on "+parent), reaches("ten")))),
		},
		after: []check{there("eth0"), there("eth1")},
	}
}

// parentListOfHosts: foo is on the second host alone, and later than the
// network.
func parentListOfHosts() scene {
	return scene{
		name: "test 6: a dummy on one host",
		rows: []row{
			create("--ipv6 --subnet=fd1a::/64 -o parent=foo,eth1,pancakes -o macvlan_mode=bridge mac6"),
			onHost2(sh("ip link add foo type dummy && ip link set foo up")),
			onHost2(run("ten", "--net=mac6 --ip6=fd1a::10", link("eth0", "macvlan bridge on foo"), address("fd1a::10/64"))),
			also(run("near", "--net=mac6", link("eth0", "macvlan bridge on eth1"))),
		},
		after: []check{from("h2", there("foo"))},
	}
}

// parentListOfVLANs: likewise with VLANs of them.
func parentListOfVLANs() scene {
	return scene{
		name: "test 7: VLANs of different interfaces",
		rows: []row{
			create("--ipv6 --subnet=fd1a::/64 -o parent=foo.10,eth1.20,pancakes -o macvlan_mode=bridge mac7",
				link("eth1.20", "vlan 802.1Q id 20 <REORDER_HDR> on eth1"), gone("foo.10")),
			onHost2(sh("ip link add foo type dummy && ip link set foo up")),
			onHost2(run("ten", "--net=mac7 --ip6=fd1a::10", link("eth0", "macvlan bridge on foo.10"), address("fd1a::10/64"),
				from("h2", link("foo.10", "vlan 802.1Q id 10 <REORDER_HDR> on foo")))),
			also(run("near", "--net=mac7", link("eth0", "macvlan bridge on eth1.20"))),
			onHost2(sh("docker rm -f ten && ip link del foo")),
		},
		after: []check{gone("eth1.20"), from("h2", gone("eth1.20")), from("h2", gone("foo.10"))},
	}
}

// parentListMissing: no parent is refused to the whole cluster, and a dummy
// on one host.
func parentListMissing() scene {
	const text = "--subnet=192.168.100.0/24 --subnet=192.168.110.0/24 --gateway=192.168.100.1 --gateway=192.168.110.1 -o macvlan_mode=bridge mac8"
	return scene{
		name: "test 8: no parent",
		rows: []row{
			globally(create(text, dummiesWhen("local", 1)), `no parent interface was passed, use for example '-o parent="eth0,eth1,eth3"'`),
		},
		after: []check{dummies(0)},
	}
}

// dummiesWhen is dummies under that label, and none under another.
func dummiesWhen(label string, want int) check {
	return func(p *play, at place) error {
		if p.label != label {
			want = 0
		}
		return dummies(want)(p, at)
	}
}
