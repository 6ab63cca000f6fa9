package kernel_test

// announcements: the LAN hears where a new address is, of either engine. 20.10
// leaves that to the agent; 28.5 tells of IPv6 addresses rightly and of IPv4
// addresses that they are 0.0.0.0.
func announcements() scene {
	return scene{
		name: "announcements", given: peerAt("10.81.0.253"),
		rows: []row{
			create(lanA + "--ipv6 --subnet=fd81::/64 -o parent=eth0 macs"),
			create(lanB + "-o parent=eth0.87 -o kind=ipvlan ips"),
			announces("-d --net=macs --ip=10.81.0.20 --ip6=fd81::20", `ARP.*Announcement 10\.81\.0\.20|ARP.*who-has 10\.81\.0\.20 tell 10\.81\.0\.20`, `neighbor advertisement, tgt is fd81::20`),
			announces("-d --net=ips --ip=10.82.0.20", `vlan 87,.*ARP.*(Announcement 10\.82\.0\.20|who-has 10\.82\.0\.20 tell 10\.82\.0\.20)`),
			onHost2(announces("-d --net=macs --ip=10.81.0.21 --ip6=fd81::21", `ARP.*Announcement 10\.81\.0\.21|ARP.*who-has 10\.81\.0\.21 tell 10\.81\.0\.21`, `neighbor advertisement, tgt is fd81::21`)),
		},
	}
}

// announces starts a container while the peer listens for what it tells.
func announces(flags string, patterns ...string) row {
	return sh("true", hears("peer", "eth0", "docker run "+flags+" busybox sleep 100000", patterns, nil))
}
