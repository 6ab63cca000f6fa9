package main

// plain is the network most containers of the scenarios are on.
const plain = "--subnet 192.168.1.0/24 --gateway 192.168.1.254"

func runs() []scenario {
	return []scenario{
		{name: "run", about: "a container with a dynamic address, from run to rm", play: func(s *stage) {
			s.create(plain)
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("exec web ip addr")
			s.docker("exec web ip route")
			s.docker("stop -t 0 web")
			s.docker("rm web")
			s.docker("network rm lan1")
		}},
		{name: "run-explicit", about: "every address given", play: func(s *stage) {
			s.create("--ipv6 " + plain + " --subnet fd98::/64")
			s.docker("run -d --name web --network lan1 --ip 192.168.1.50 --ip6 fd98::50 --mac-address 02:00:00:00:00:50 busybox sleep 1000")
			s.docker("exec web ip addr")
			s.docker("stop -t 0 web")
			s.docker("start web")
			s.docker("rm -f web")
		}},
		{name: "run-dual", about: "two families, dynamic", play: func(s *stage) {
			s.create("--ipv6 " + plain + " --subnet fd98::/64")
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("rm -f web")
		}},
		{name: "run-several-subnets", about: "a network with two subnets: which pool is asked", play: func(s *stage) {
			s.create(plain + " --subnet 192.168.2.0/24 --gateway 192.168.2.254")
			s.docker("run -d --name web1 --network lan1 busybox sleep 1000")
			s.docker("run -d --name web2 --network lan1 --ip 192.168.2.50 busybox sleep 1000")
			s.docker("rm -f web1 web2")
		}},
		{name: "run-options", about: "what of the command line reaches a driver", play: func(s *stage) {
			s.create(plain)
			s.docker("run -d --name web --network lan1 --hostname web --network-alias www --expose 90 -p 8080:80" +
				" --dns 192.168.1.53 --label a=b --link-local-ip 169.254.7.7 busybox sleep 1000")
			s.docker("rm -f web")
			s.docker("run -d --name web --network name=lan1,alias=www,driver-opt=color=red busybox sleep 1000")
			s.docker("rm -f web")
		}},
		{name: "run-two-networks", about: "a container on two networks of ours", play: func(s *stage) {
			s.create(plain)
			s.docker("network create -d recorder --ipam-driver recorder --subnet 192.168.3.0/24 lan2")
			s.docker("create --name web --network lan1 busybox sleep 1000")
			s.docker("network connect lan2 web")
			s.docker("start web")
			s.docker("exec web ip route")
			s.docker("rm -f web")
		}},
		{name: "connect", about: "connecting and disconnecting a running container", play: func(s *stage) {
			s.create(plain)
			s.docker("run -d --name web busybox sleep 1000")
			s.docker("network connect --ip 192.168.1.50 --alias www lan1 web")
			s.docker("exec web ip addr")
			s.docker("network disconnect lan1 web")
			s.docker("network connect --driver-opt color=red lan1 web")
			s.docker("network disconnect -f lan1 web")
			s.docker("rm -f web")
		}},
		{name: "restart", about: "stop, start, restart: is the address asked for again", play: func(s *stage) {
			s.create(plain)
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("stop -t 0 web")
			s.docker("start web")
			s.docker("restart -t 0 web")
			s.docker("kill web")
			s.settle()
			s.docker("start web")
			s.docker("rm -f web")
		}},
		{name: "restart-policy", about: "a container that ends by itself and is started again by its policy", play: func(s *stage) {
			s.create(plain)
			s.docker("run -d --name web --network lan1 --restart on-failure:1 busybox sh -c", "sleep 1; false")
			s.docker("wait web")
			s.settle()
			s.settle()
			s.docker("wait web")
			s.settle()
			s.docker("rm -f web")
		}},
		{name: "run-foreground", about: "run --rm of a command that ends", play: func(s *stage) {
			s.create(plain)
			s.docker("run --rm --network lan1 busybox true")
			s.settle()
		}},
		{name: "prune", about: "network prune with a stopped container on it", play: func(s *stage) {
			s.create(plain + " --aux-address nas=192.168.1.5")
			s.docker("run -d --name web --network lan1 busybox sleep 1000")
			s.docker("stop -t 0 web")
			s.docker("network prune -f")
			s.docker("start web")
		}},
	}
}

func outages() []scenario {
	up := func(s *stage) {
		s.create(plain + " --aux-address nas=192.168.1.5")
		s.docker("run -d --name dyn --network lan1 busybox sleep 1000")
		s.docker("run -d --name fix --network lan1 --ip 192.168.1.50 busybox sleep 1000")
		s.docker("run -d --name pol --network lan1 --restart always busybox sleep 1000")
	}
	after := func(s *stage) {
		s.settle()
		s.docker("ps -a --format", "{{.Names}} {{.State}}")
		s.docker("start dyn fix")
		s.docker("rm -f dyn fix pol")
		s.docker("network rm lan1")
	}
	killed := func(s *stage) { up(s); s.killEngine(); s.startEngine(); after(s) }
	stopped := func(s *stage) { up(s); s.stopEngine(); s.startEngine(); after(s) }
	return []scenario{
		{name: "dockerd-killed", about: "kill -9 of dockerd and its restart", play: killed},
		{name: "dockerd-killed-live-restore", about: "kill -9 of dockerd and its restart, live-restore", liveRestore: true, play: killed},
		{name: "dockerd-stopped", about: "an orderly restart of dockerd", play: stopped},
		{name: "dockerd-stopped-live-restore", about: "an orderly restart of dockerd, live-restore", liveRestore: true, play: stopped},
		{name: "plugin-restarted", about: "the plugin ends and comes back: nothing is asked anew", play: func(s *stage) {
			up(s)
			s.killPlugin()
			s.startPlugin()
			after(s)
		}},
		{name: "plugin-down", about: "the plugin is away while a container is stopped, started, run and removed, and a network made", play: func(s *stage) {
			up(s)
			s.killPlugin()
			s.docker("stop -t 0 dyn")
			s.docker("start dyn")
			s.docker("network create -d recorder --ipam-driver recorder --subnet 192.168.9.0/24 lan9")
			s.startPlugin()
			after(s)
		}},
		{name: "plugin-down-at-boot", about: "dockerd is killed and starts while the plugin is away", play: func(s *stage) {
			up(s)
			s.killEngine()
			s.killPlugin()
			s.startEngine()
			s.startPlugin()
			after(s)
		}},
		{name: "connection-dropped", about: "the plugin reads a request and dies before it answers: how the retry looks", play: func(s *stage) {
			s.create(plain)
			s.wrong(`{"drop":{"IpamDriver.RequestAddress":1}}`)
			s.docker("run -d --name web1 --network lan1 --ip 192.168.1.50 busybox sleep 1000")
			s.wrong(`{"drop":{"NetworkDriver.CreateEndpoint":1}}`)
			s.docker("run -d --name web2 --network lan1 --ip 192.168.1.51 busybox sleep 1000")
			s.wrong(`{"drop":{"IpamDriver.ReleaseAddress":1}}`)
			s.docker("rm -f web1 web2")
		}},
	}
}
