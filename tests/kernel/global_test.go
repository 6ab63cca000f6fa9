package kernel_test

import (
	"slices"
	"testing"

	"gvlan/tests/lab"
)

// global is "Macvlan Global Driver", the guide to networks that span hosts.
// Its examples hold under both labels.
func global() document {
	return document{
		title: "Macvlan Global Driver", creates: 15, runs: 21,
		mended: []string{
			"--label com.docker.network.driver.macvlan=global: engines refuse labels in com.docker.*; --label macvlan=global",
			"-o =bond0.65,eth3.65,eth1.65,eth0.65: refused with the answer, -o parent=",
			"the last container of dualstack is given the addresses of the second: refused while that runs, run when it is gone",
			"--net=mcv30: the network is vlan30",
			"a space behind a backslash, in test 1",
		},
		scenes: slices.Concat([]scene{globalMac(), globalDualStack(), globalVLAN65(), globalList65(), globalNames(), globalFile(), globalVLANFile()}, parentLists()),
	}
}

// TestGlobalGuide plays the guide under the label global, and under the label local
// what that makes otherwise.
func TestGlobalGuide(t *testing.T) {
	if !inUML(t) {
		return
	}
	s := newSite(t, engines{lab.Docker20, lab.Docker28}, "macvlan=global")
	playDocument(t, s, global(), "global")
	s.relabel("macvlan=local")
	t.Run("locally", func(t *testing.T) { playDocument(t, s, document{scenes: locally()}, "local") })
}

// locally are the examples that the label local makes otherwise: who makes the network,
// on which parent, that each host alone gives its addresses, and that one without a
// parent is made at all. How a list is read, and what link hangs from what it gives,
// does not know the scope.
func locally() []scene { return []scene{globalList65(), globalVLANFile(), parentListMissing()} }

func globalMac() scene {
	return scene{
		name: "a single parent",
		rows: []row{
			create("--subnet=192.168.1.0/24 --gateway=192.168.1.254 -o parent=eth1 -o macvlan_mode=bridge mac"),
			run("ten", "--net=mac --ip=192.168.1.10", link("eth0", "macvlan bridge on eth1"),
				routes("default via 192.168.1.254 dev eth0", "192.168.1.0/24 dev eth0 src 192.168.1.10")),
		},
	}
}

func globalDualStack() scene {
	last := "--net=dualstack --ip6=fd18::10"
	return scene{
		name: "dual stack",
		rows: []row{
			create("--ipv6 --subnet=192.168.222.0/24 --subnet=192.168.224.0/24 --subnet=fd18::/64 " +
				"--aux-address=exclude1=fd18::2 --aux-address=exclude2=192.168.222.2 --aux-address=exclude3=192.168.224.2 " +
				`--ip-range=192.168.222.0/25 --ip-range=192.168.224.0/25 -o parent="bond0,  eth0,  eth1" -o macvlan_mode=bridge dualstack`),
			run("one", "--net=dualstack", link("eth0", "macvlan bridge on eth0"), address("fd18::3/64"), either(
				[]check{address("192.168.222.3/24"), routes("default via 192.168.222.1 dev eth0", "192.168.222.0/24 dev eth0 src 192.168.222.3")},
				[]check{address("192.168.224.3/24"), routes("default via 192.168.224.1 dev eth0", "192.168.224.0/24 dev eth0 src 192.168.224.3")})),
			run("two", "--net=dualstack --ip=192.168.222.10 --ip6=fd18::10", address("192.168.222.10/24"), address("fd18::10/64")),
			run("three", "--net=dualstack --ip=192.168.222.20 --ip6=fd18::20", reaches("192.168.222.10"), reaches("fd18::10")),
			pings("--net=dualstack --ip=192.168.222.21 --ip6=fd18::21", "ping6", 4, "fd18::20"),
			pings("--net=dualstack --ip=192.168.222.21 --ip6=fd18::21", "ping", 4, "192.168.222.20"),
			run("four", "--net=dualstack --ip6=fd18::11", address("fd18::11/64")),
			also(refusing(run("five", last), "is in use by container two")),
			sh("docker rm -f two"),
			run("five", last, address("fd18::10/64"), reaches("fd18::20")),
			also(onHost2(run("far", "--net=dualstack --ip=192.168.222.30", reaches("fd18::20"), reaches("192.168.222.20")))),
		},
	}
}

func globalVLAN65() scene {
	return scene{
		name: "trunk 1: a single parent",
		rows: []row{
			create("--subnet=192.168.65.0/24 --gateway=192.168.65.254 -o parent=eth0.65 -o macvlan_mode=bridge vlan65",
				link("eth0.65", "vlan 802.1Q id 65 <REORDER_HDR> on eth0"), from("h2", link("eth0.65", "vlan 802.1Q id 65 <REORDER_HDR> on eth0"))),
			run("ten", "--net=vlan65 --ip=192.168.65.10", link("eth0", "macvlan bridge on eth0.65"), address("192.168.65.10/24"),
				routes("default via 192.168.65.254 dev eth0", "192.168.65.0/24 dev eth0 src 192.168.65.10")),
		},
		after: []check{gone("eth0.65"), from("h2", gone("eth0.65"))},
	}
}

// globalList65: the first host has eth1, which stands before eth0 in the list,
// and the second eth3 besides, on the same LAN, which stands before both.
func globalList65() scene {
	const rest = "--subnet=192.168.65.0/24 --gateway=192.168.65.254 -o macvlan_mode=bridge "
	return scene{
		name: "trunk 2: a list of parents",
		rows: []row{
			does("plug in eth3", func(p *play) { p.plug(p.Hosts[1].Machine, "eth3", "br0", "u-h2") }),
			also(refusing(create(rest+"-o =bond0.65,eth3.65,eth1.65,eth0.65 vlan65"), "did you mean parent=bond0.65,eth3.65,eth1.65,eth0.65")),
			create(rest+"-o parent=bond0.65,eth3.65,eth1.65,eth0.65 vlan65",
				link("eth1.65", "vlan 802.1Q id 65 <REORDER_HDR> on eth1"), gone("eth0.65"), gone("bond0.65"),
				from("h2", link("eth3.65", "vlan 802.1Q id 65 <REORDER_HDR> on eth3")), from("h2", gone("eth1.65"))),
			run("ten", "--net=vlan65 --ip=192.168.65.10", link("eth0", "macvlan bridge on eth1.65"), address("192.168.65.10/24"),
				routes("default via 192.168.65.254 dev eth0", "192.168.65.0/24 dev eth0 src 192.168.65.10")),
			also(onHost2(run("far", "--net=vlan65 --ip=192.168.65.11", link("eth0", "macvlan bridge on eth3.65"),
				routes("default via 192.168.65.254 dev eth0", "192.168.65.0/24 dev eth0 src 192.168.65.11"),
				reaches("ten"), from("ten", reaches("far"))))),
		},
		after: []check{gone("eth1.65"), there("eth1"), from("h2", gone("eth3.65")), from("h2", there("eth3"))},
	}
}

// globalNames: the hosts' interfaces have different names, and the second
// host's is later than the network.
func globalNames() scene {
	const noARP = "BROADCAST,NOARP,UP,LOWER_UP"
	return scene{
		name:  "different names on different hosts",
		given: []string{"h1: ip link add foo type dummy && ip link set foo up"},
		rows: []row{
			create(`--subnet=192.168.20.0/24 --gateway=192.168.20.1 -o parent="toothbrush, foo.10, bar.10" -o macvlan_mode=bridge mcv20`),
			run("one", "--net=mcv20", link("eth0", "macvlan bridge on foo.10"), address("192.168.20.2/24"),
				routes("default via 192.168.20.1 dev eth0", "192.168.20.0/24 dev eth0 src 192.168.20.2"),
				from("h1", link("foo", "dummy")), from("h1", flags("foo", noARP)),
				from("h1", link("foo.10", "vlan 802.1Q id 10 <REORDER_HDR> on foo")), from("h1", flags("foo.10", noARP)), from("h1", gone("bar.10"))),
			onHost2(sh("ip link add bar type dummy && ip link set bar up")),
			onHost2(run("two", "--net=mcv20", link("eth0", "macvlan bridge on bar.10"), address("192.168.20.3/24"),
				routes("default via 192.168.20.1 dev eth0", "192.168.20.0/24 dev eth0 src 192.168.20.3"),
				from("h2", link("bar", "dummy")), from("h2", flags("bar", noARP)),
				from("h2", link("bar.10", "vlan 802.1Q id 10 <REORDER_HDR> on bar")), from("h2", flags("bar.10", noARP)), from("h2", gone("foo.10")))),
		},
		after: []check{gone("foo.10"), there("foo"), from("h2", gone("bar.10")), from("h2", there("bar"))},
	}
}

// globalFile: one file name, another content on each host.
func globalFile() scene {
	return scene{
		name: "a parent file",
		given: []string{
			`h1: printf '[macvlan]\nversion = "0.1"\nparent = "eth1"\n' >/root/net1.toml`,
			`h2: printf 'parent = "eth0"\n' >/root/net1.toml`,
		},
		rows: []row{
			create("--subnet=192.168.1.0/24 --gateway=192.168.1.1 -o parent-file=/root/net1.toml mcv0"),
			run("one", "--net=mcv0", link("eth0", "macvlan bridge on eth1"), address("192.168.1.2/24"),
				routes("default via 192.168.1.1 dev eth0", "192.168.1.0/24 dev eth0 src 192.168.1.2")),
			also(onHost2(run("two", "--net=mcv0", link("eth0", "macvlan bridge on eth0"), address("192.168.1.3/24"),
				routes("default via 192.168.1.1 dev eth0", "192.168.1.0/24 dev eth0 src 192.168.1.3")))),
		},
	}
}

func globalVLANFile() scene {
	return scene{
		name:  "a VLAN in a parent file",
		given: []string{"h1: echo eth0.30 >/root/vlan30.conf"},
		rows: []row{
			hereOnly(create("--subnet=172.16.86.0/24 --gateway=172.16.86.2 -o parent-file=/root/vlan30.conf vlan30",
				link("eth0.30", "vlan 802.1Q id 30 <REORDER_HDR> on eth0"))),
			run("one", "--net=vlan30", link("eth0", "macvlan bridge on eth0.30"),
				routes("default via 172.16.86.2 dev eth0", "172.16.86.0/24 dev eth0 src 172.16.86.1")),
		},
		after: []check{gone("eth0.30")},
	}
}
