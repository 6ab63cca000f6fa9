package kernel_test

import (
	"fmt"
	"strings"
)

// hostAccessScenes: containers and their own host reach each other on every kind of
// link that leaves a way, and the LAN is answered once for each address.
func hostAccessScenes() []scene {
	return []scene{
		hostAccess(), hostAccessOnVLAN(), hostAccessStrict(),
	}
}

// hostsCard gives h1's card the addresses by which containers reach it.
func hostsCard() []string {
	return []string{
		"h1: ip addr add 10.71.0.251/24 dev eth0 && ip addr add fd71::251/64 dev eth0 nodad",
		"peer: ip addr add 10.71.0.253/24 dev eth0",
	}
}

// hostAccess is a network of the card's own addresses. Those of l3 and l3s networks are
// beside them: TestHostRoutes has such.
func hostAccess() scene {
	return scene{
		name: "host access, ipvlan l2", given: hostsCard(),
		rows: []row{
			create("--ipv6 --subnet=10.71.0.0/24 --gateway=10.71.0.254 --subnet=fd71::/64 --gateway=fd71::254 -o parent=eth0 -o host-access=on -o ipvlan_mode=l2 lan1"),
			run("near", "--net=lan1 --ip=10.71.0.10 --ip6=fd71::10",
				later(reaches("10.71.0.251")), later(reaches("fd71::251")), from("h1", later(reaches("10.71.0.10"))), from("h1", later(reaches("fd71::10"))),
				from("peer", answeredOnce("10.71.0.251")), from("peer", answeredOnce("10.71.0.10"))),
		},
		after: []check{from("h1", later(noShim))},
	}
}

// hostAccessOnVLAN: the host has no address there, and is reached by the one it has.
func hostAccessOnVLAN() scene {
	return scene{
		name: "host access, on a VLAN",
		rows: []row{
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0.71 -o host-access=on lan1"),
			run("near", "--net=lan1 --ip=10.71.0.10", later(reaches("10.99.0.1")), from("h1", later(reaches("10.71.0.10")))),
		},
		after: []check{from("h1", later(noShim)), gone("eth0.71")},
	}
}

// hostAccessStrict: what a strict parent drops is told, and works once it is loose.
func hostAccessStrict() scene {
	return scene{
		name: "host access, ipvlan l2 on a strict parent", given: append(hostsCard(), "h1: echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter"),
		rows: []row{
			create("--subnet=10.71.0.0/24 --gateway=10.71.0.254 -o parent=eth0 -o ipvlan_mode=l2 -o host-access=on lan1"),
			run("near", "--net=lan1 --ip=10.71.0.10", later(saysStatus("net.ipv4.conf.eth0.rp_filter=2")), cannotReach("10.71.0.251", "peer")),
			sh("echo 2 >/proc/sys/net/ipv4/conf/eth0/rp_filter"),
			sh("true", from("near", reaches("10.71.0.251"))),
			sh("echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter"),
		},
		after: []check{from("h1", later(noShim))},
	}
}

// answeredOnce asks by ARP who has an address and counts the answers.
func answeredOnce(addr string) check {
	return func(p *play, at place) error {
		out, err := at.try(p.t.Context(), "arping", "-b", "-c", "1", "-I", "eth0", addr)
		if n := strings.Count(out, "reply from"); err != nil || n != 1 {
			return fmt.Errorf("%d answers for %s, want one (%w): %s", n, addr, err, out)
		}
		return nil
	}
}

// noShim wants no link of the host's own beside containers'.
func noShim(p *play, at place) error {
	links, err := at.links(p.t.Context())
	if err != nil {
		return err
	}
	for _, l := range links {
		if strings.HasPrefix(l.Name, "gvs-") {
			return fmt.Errorf("%s has %s", at.name, l.Name)
		}
	}
	return nil
}

// saysStatus is what `gvlan status` on h1 says.
func saysStatus(words string) check {
	return func(p *play, _ place) error {
		out, err := p.Hosts[0].Exec(p.t.Context(), "sh", "-c", p.program+" status --json || true")
		if err != nil || !strings.Contains(out, words) {
			return fmt.Errorf("status does not say %s (%w): %s", words, err, out)
		}
		return nil
	}
}
