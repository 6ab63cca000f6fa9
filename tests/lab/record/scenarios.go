package main

// scenario is something users do, or that happens to them.
type scenario struct {
	name, about string
	liveRestore bool
	play        func(*stage)
}

func scenarios() []scenario {
	var all []scenario
	all = append(all, creates()...)
	all = append(all, runs()...)
	all = append(all, refusals()...)
	return append(all, outages()...)
}

// create is a scenario that makes the network lan1, looks at it and removes it.
func create(name, about, flags string) scenario {
	return scenario{name: name, about: about, play: func(s *stage) {
		s.create(flags)
		s.docker("network inspect lan1")
		s.docker("network rm lan1")
	}}
}

func creates() []scenario {
	return []scenario{
		create("create-v4", "a subnet and nothing else", "--subnet 192.168.1.0/24"),
		create("create-options", "every option that reaches a plugin",
			"--subnet 192.168.1.0/24 --gateway 192.168.1.254 --ip-range 192.168.1.128/25"+
				" --aux-address nas=192.168.1.5 --aux-address far=192.168.1.130"+
				" --ipam-opt segment=lab --ipam-opt order=aged"+
				" -o parent=eth1 -o macvlan_mode=bridge --label a=b --attachable"),
		create("create-dual", "two families", "--ipv6 --subnet 192.168.1.0/24 --gateway 192.168.1.254 --subnet fd98::/64 --gateway fd98::fe"),
		create("create-ipv6-only", "no IPv4, where the release can", "--ipv4=false --ipv6 --subnet fd98::/64"),
		create("create-ipv6-subnet", "an IPv6 subnet only, IPv4 not turned off", "--ipv6 --subnet fd98::/64"),
		create("create-ipv6-no-subnet", "IPv6 without a subnet for it", "--ipv6 --subnet 192.168.1.0/24"),
		create("create-no-subnet", "no subnet at all", ""),
		create("create-host-bits", "a subnet with host bits", "--subnet 192.168.1.10/24"),
		create("create-several-subnets", "two subnets of one family",
			"--subnet 192.168.1.0/24 --gateway 192.168.1.254 --subnet 192.168.2.0/24 --gateway 192.168.2.254"),
		create("create-internal", "an internal network", "--internal --subnet 192.168.1.0/24"),
		{name: "create-driver-only", about: "our driver with Docker's IPAM", play: func(s *stage) {
			s.docker("network create -d recorder --subnet 192.168.1.0/24 lan1")
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("rm -f web")
			s.docker("network rm lan1")
		}},
		{name: "create-ipam-only", about: "our IPAM with Docker's bridge", play: func(s *stage) {
			s.docker("network create -d bridge --ipam-driver recorder --subnet 192.168.1.0/24 lan1")
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("rm -f web")
			s.docker("network rm lan1")
		}},
		{name: "create-on-swarm-node", about: "a network of local scope on a swarm manager", play: func(s *stage) {
			s.docker("swarm init --advertise-addr 10.99.0.1")
			s.create("--subnet 192.168.1.0/24")
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("network ls --filter name=lan1")
			s.docker("rm -f web")
			s.docker("network rm lan1")
		}},
		{name: "create-twice", about: "one name twice", play: func(s *stage) {
			s.create("--subnet 192.168.1.0/24")
			s.create("--subnet 192.168.1.0/24")
		}},
	}
}

func refusals() []scenario {
	const net = "--subnet 192.168.1.0/24 --gateway 192.168.1.254 --aux-address nas=192.168.1.5"
	fail := func(name, about, method string) scenario {
		return scenario{name: name, about: about, play: func(s *stage) {
			s.wrong(`{"fail":{"` + method + `":"the plugin says no"}}`)
			s.create(net)
			s.right()
			s.create(net)
		}}
	}
	failRun := func(name, about, method string) scenario {
		return scenario{name: name, about: about, play: func(s *stage) {
			s.create("--ipv6 " + net + " --subnet fd98::/64")
			s.wrong(`{"fail":{"` + method + `":"the plugin says no"}}`)
			s.docker("run -d --name web --network lan1 --ip 192.168.1.50 busybox sleep 1000")
			s.docker("rm web")
			s.right()
			s.docker("run -d --name web --network lan1 --ip 192.168.1.50 busybox sleep 1000")
			s.docker("rm -f web")
		}}
	}
	return []scenario{
		fail("fail-request-pool", "RequestPool refuses", "IpamDriver.RequestPool"),
		fail("fail-request-gateway", "RequestAddress refuses the gateway", "IpamDriver.RequestAddress"),
		fail("fail-create-network", "CreateNetwork refuses: what is rolled back", "NetworkDriver.CreateNetwork"),
		failRun("fail-request-address", "RequestAddress refuses a container", "IpamDriver.RequestAddress"),
		failRun("fail-create-endpoint", "CreateEndpoint refuses: which release follows", "NetworkDriver.CreateEndpoint"),
		failRun("fail-join", "Join refuses: what is rolled back", "NetworkDriver.Join"),
		{name: "fail-aux", about: "an aux address that is taken: what is rolled back", play: func(s *stage) {
			s.create("--subnet 192.168.1.0/24 --gateway 192.168.1.254 --aux-address nas=192.168.1.254")
		}},
		{name: "fail-quiet", about: "errors that Docker swallows: the container and network go all the same", play: func(s *stage) {
			s.create(net)
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.wrong(`{"fail":{"NetworkDriver.Leave":"no","NetworkDriver.DeleteEndpoint":"no","NetworkDriver.RevokeExternalConnectivity":"no",` +
				`"IpamDriver.ReleaseAddress":"no","IpamDriver.ReleasePool":"no","NetworkDriver.DeleteNetwork":"no"}}`)
			s.docker("rm -f web")
			s.docker("network rm lan1")
			s.docker("network ls --filter name=lan1 -q")
		}},
		{name: "duplicate-ip", about: "RequestAddress refuses a second holder", play: func(s *stage) {
			s.create(net)
			s.docker("run -d --name web1 --network lan1 --ip 192.168.1.50 busybox sleep 1000")
			s.docker("run -d --name web2 --network lan1 --ip 192.168.1.50 busybox sleep 1000")
			s.docker("run -d --name gw --network lan1 --ip 192.168.1.254 busybox sleep 1000")
			s.docker("run -d --name aux --network lan1 --ip 192.168.1.5 busybox sleep 1000")
			s.docker("run -d --name out --network lan1 --ip 10.1.1.1 busybox sleep 1000")
		}},
		{name: "duplicate-ip6", about: "IPv4 granted, then IPv6 refused: is the IPv4 released", play: func(s *stage) {
			s.create("--ipv6 " + net + " --subnet fd98::/64")
			s.docker("run -d --name web1 --network lan1 --ip6 fd98::50 busybox sleep 1000")
			s.docker("run -d --name web2 --network lan1 --ip6 fd98::50 busybox sleep 1000")
			s.docker("rm web2")
		}},
		{name: "rm-in-use", about: "a network with a container", play: func(s *stage) {
			s.create(net)
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("network rm lan1")
		}},
	}
}
