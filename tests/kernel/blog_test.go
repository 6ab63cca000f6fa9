package kernel_test

// blog is "Configuring Macvlan and Ipvlan Linux Networking", which introduces
// the drivers with one example.
func blog() document {
	return document{
		title: "Configuring Macvlan and Ipvlan Linux Networking", creates: 1, runs: 1,
		mended: []string{"–subnet, –gateway, –net and –rm begin with one long dash where two short ones are meant"},
		scenes: []scene{{
			name: "macvlan", given: lan1("192.168.1.251"),
			rows: []row{
				create("--subnet=192.168.1.0/24 --gateway=192.168.1.1 -o parent=eth0 mcv1"),
				run("one", "--net=mcv1",
					link("eth0", "macvlan bridge on eth0"), ownMAC("eth0"), address("192.168.1.2/24"),
					routes("default via 192.168.1.1 dev eth0", "192.168.1.0/24 dev eth0 src 192.168.1.2"),
					reaches("192.168.1.253")),
			},
			after: []check{there("eth0")},
		}},
	}
}
