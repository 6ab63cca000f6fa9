package kernel_test

import (
	"testing"

	"gvlan/tests/lab"
)

// Two versions of Docker's own page "vlan-networks.md" share most of their
// examples, which are here. Each is played with one of the pages, so that both
// engines have some, unless the engines differ there.
const (
	ipvlanTitle = "Ipvlan Network Driver"              // on 28.5
	vlanTitle   = "Macvlan and Ipvlan Network Drivers" // on 20.10
)

// pageLAN is the LAN of the page's pictures.
func pageLAN() []string { return lan1("192.168.1.250") }

// pageDBNet: ipvlan L2 on eth0, said in full and by default.
func pageDBNet() []scene {
	defaults := []check{
		link("eth0", "ipvlan l2 bridge on eth0"), parentsMAC("eth0"), address("192.168.1.2/24"),
		routes("default via 192.168.1.1 dev eth0", "192.168.1.0/24 dev eth0 src 192.168.1.2"),
		cannotReach("192.168.1.250", "peer"),
	}
	return []scene{
		{
			name: "ipvlan L2", given: pageLAN(), with: ipvlanTitle,
			rows: []row{
				create("--subnet=192.168.1.0/24 --gateway=192.168.1.1 -o ipvlan_mode=l2 -o parent=eth0 db_net"),
				run("one", "--net=db_net", defaults...),
			},
			after: []check{there("eth0")},
		},
		{
			name: "ipvlan L2 by default", given: pageLAN(), with: vlanTitle,
			rows: []row{
				create("--subnet=192.168.1.0/24 -o kind=ipvlan -o parent=eth0 db_net_ipv"),
				run("ipv1", "--net=db_net_ipv --name=ipv1", defaults...),
				// The page pings ipv1 by its name: see mended.
				run("ipv2", "--net=db_net_ipv --name=ipv2", reachesEach("ipv1", 4), knows("ipv1", "db_net_ipv"), reaches("192.168.1.253"), cannotReach("192.168.1.250", "peer")),
			},
			after: []check{there("eth0")},
		},
	}
}

// pageIsolated: no parent and --internal are the same, a dummy that leads
// nowhere.
func pageIsolated() scene {
	onDummy := link("eth0", "ipvlan l2 bridge on a dummy of ours")
	return scene{
		name: "isolated networks", given: pageLAN(),
		rows: []row{
			create("--subnet=192.168.10.0/24 -o kind=ipvlan -o scope=local isolated1", dummies(1)),
			create("--subnet=192.168.11.0/24 --internal -o kind=ipvlan isolated2", dummies(2)),
			create("-o kind=ipvlan -o scope=local isolated3", dummies(3)),
			run("cid1", "--net=isolated1 --name=cid1", onDummy, address("192.168.10."+lowest+"/24"), routes("192.168.10.0/24 dev eth0 src 192.168.10."+lowest)),
			run("cid2", "--net=isolated2 --name=cid2", onDummy, address("192.168.11."+lowest+"/24"), routes("192.168.11.0/24 dev eth0 src 192.168.11."+lowest)),
			run("cid3", "--net=isolated3 --name=cid3", onDummy, inSubnet("172.16.0.0/12"), cannotReach("192.168.1.253", "h1")),
			also(run("cid4", "--net=isolated1 --name=cid4", reaches("cid1"),
				from("cid2", cannotReach("cid1", "cid4")), from("h1", cannotReach("cid1", "cid4")))),
		},
		after: []check{dummies(0), there("eth0")},
	}
}

// pageIpvlanTrunk: VLANs 20 and 30.
func pageIpvlanTrunk() scene {
	return scene{
		name: "ipvlan L2 on VLANs 20 and 30", with: ipvlanTitle,
		rows: []row{
			create("--subnet=192.168.20.0/24 --gateway=192.168.20.1 -o kind=ipvlan -o parent=eth0.20 ipvlan20",
				link("eth0.20", "vlan 802.1Q id 20 <REORDER_HDR> on eth0")),
			run("ivlan_test1", "--net=ipvlan20 --name ivlan_test1", link("eth0", "ipvlan l2 bridge on eth0.20"), address("192.168.20.2/24")),
			run("ivlan_test2", "--net=ipvlan20 --name ivlan_test2", reaches("ivlan_test1")),

			create("--subnet=192.168.30.0/24 --gateway=192.168.30.1 -o parent=eth0.30 -o ipvlan_mode=l2 ipvlan30",
				link("eth0.30", "vlan 802.1Q id 30 <REORDER_HDR> on eth0")),
			run("ivlan_test3", "--net=ipvlan30 --name ivlan_test3", link("eth0", "ipvlan l2 bridge on eth0.30"),
				routes("default via 192.168.30.1 dev eth0", "192.168.30.0/24 dev eth0 src 192.168.30.2")),
			run("ivlan_test4", "--net=ipvlan30 --name ivlan_test4", reaches("ivlan_test3"), cannotReach("ivlan_test1", "ivlan_test2")),
		},
		after: []check{gone("eth0.20"), gone("eth0.30"), there("eth0")},
	}
}

// page114 has two subnets in one switched network: they do not reach one
// another.
const page114 = "--subnet=192.168.114.0/24 --subnet=192.168.116.0/24 --gateway=192.168.114.254 --gateway=192.168.116.254 " +
	"-o parent=eth0.114 -o ipvlan_mode=l2 ipvlan114"

func page114Rows() []row {
	return []row{
		run("ten", "--net=ipvlan114 --ip=192.168.114.10", address("192.168.114.10/24"),
			routes("default via 192.168.114.254 dev eth0", "192.168.114.0/24 dev eth0 src 192.168.114.10")),
		run("eleven", "--net=ipvlan114 --ip=192.168.114.11", reaches("ten")),
		also(run("other", "--net=ipvlan114 --ip=192.168.116.10",
			routes("default via 192.168.116.254 dev eth0", "192.168.116.0/24 dev eth0 src 192.168.116.10"),
			cannotReach("ten", "eleven"))),
	}
}

// page140 is dual stack.
const page140 = "--ipv6 --subnet=192.168.140.0/24 --subnet=192.168.142.0/24 --gateway=192.168.140.1 --gateway=192.168.142.1 " +
	"--subnet=2001:db8:abc9::/64 --gateway=2001:db8:abc9::22 -o parent=eth0.140 -o ipvlan_mode=l2 ipvlan140"

func page140Rows() []row {
	return []row{
		also(run("first", "--net=ipvlan140 --ip=192.168.140.2", address("192.168.140.2/24"), address("2001:db8:abc9::1/64"),
			routes("default via 192.168.140.1 dev eth0", "192.168.140.0/24 dev eth0 src 192.168.140.2"),
			routes6("2001:db8:abc9::/64 dev eth0", "default via 2001:db8:abc9::22 dev eth0"))),
		run("second", "--net=ipvlan140 --ip=192.168.140.10", address("192.168.140.10/24"),
			reaches("192.168.140.2"), reaches("2001:db8:abc9::1")),
		also(run("other", "--net=ipvlan140 --ip=192.168.142.10", cannotReach("192.168.140.2", "second"))),
	}
}

// pageOwnVLAN: links made by hand are used under any name and stay.
func pageOwnVLAN(name, with string) scene {
	return scene{
		name: "a VLAN link made by hand: " + name, with: with,
		given: []string{"h1: ip link add link eth0 name " + name + " type vlan id 40 && ip link set " + name + " up"},
		rows: []row{
			create("--subnet=192.168.40.0/24 --gateway=192.168.40.1 -o kind=ipvlan -o parent=" + name + " ipvlan40"),
			run("ivlan_test5", "--net=ipvlan40 --name ivlan_test5", link("eth0", "ipvlan l2 bridge on "+name)),
			run("ivlan_test6", "--net=ipvlan40 --name ivlan_test6", reaches("ivlan_test5")),
		},
		after: []check{link(name, "vlan 802.1Q id 40 <REORDER_HDR> on eth0")},
	}
}

const (
	mendedName = "ping -c 4 ipv1: this kernel has neither nftables nor iptables, so no resolver is inside containers; the address is pinged, and the name asked of the agent, for ipv2"
	mendedIPv6 = "IPv6 subnets without --ipv6: Docker ignores them; --ipv6 added"
	mendedNone = "no -o parent=: a network of the whole cluster needs one; -o scope=local added"
)

func TestIpvlanPage(t *testing.T) {
	if !inUML(t) {
		return
	}
	playDocument(t, newSite(t, engines{lab.Docker28}), ipvlanPage(), "")
}

func TestVLANPage(t *testing.T) {
	if !inUML(t) {
		return
	}
	playDocument(t, newSite(t, engines{lab.Docker20}), vlanPage(), "")
}
