package kernel_test

import (
	"fmt"
	"strconv"
	"strings"
)

// loss is of parents that go and come back, agents and engines that restart, a
// host that loses all its links.
func loss() document {
	return document{scenes: []scene{lostVLAN(), lostMaster(), restarted()}}
}

// lostVLAN: somebody deletes our VLAN link.
func lostVLAN() scene {
	vlan := link("eth0.84", "vlan 802.1Q id 84 <REORDER_HDR> on eth0")
	return scene{
		name: "a VLAN link is deleted", given: []string{"peer: ip link add link eth0 name eth0.84 type vlan id 84 && ip addr add 10.81.0.253/24 dev eth0.84 && ip link set eth0.84 up"},
		rows: []row{
			create(lanA+"-o parent=eth0.84 lan", vlan),
			run("one", "--net=lan", reaches("10.81.0.253")),
			sh("ip link del eth0.84", later(vlan)),
			run("two", "--net=lan", link("eth0", "macvlan bridge on eth0.84"), reaches("10.81.0.253")),
			// What hung from it is lost until it is started again.
			does("restart one", restartContainer("one"), from("one", reaches("two")), from("one", link("eth0", "macvlan bridge on eth0.84"))),
		},
		after: []check{gone("eth0.84"), there("eth0")},
	}
}

// lostMaster: a card is unplugged, with everything on it.
func lostMaster() scene {
	const plug = "ip link add foo type dummy && ip link set foo up"
	vlan := link("foo.85", "vlan 802.1Q id 85 <REORDER_HDR> on foo")
	return scene{
		name: "a master is deleted", given: []string{"h1: " + plug},
		rows: []row{
			create(lanA+"-o parent=foo.85 lan", vlan),
			create(lanB + "-o parent=foo.86 away"),
			run("one", "--net=lan"),
			sh("ip link del foo"),
			sh("docker network rm away"),
			refusing(run("two", "--net=lan"), "no usable parent interface on node h1: foo.85 (its master foo does not exist)"),
			does("restart the agent", restartAgent),
			sh(plug, later(vlan), gone("foo.86")),
			run("two", "--net=lan", link("eth0", "macvlan bridge on foo.85")),
			sh("ip link del foo"),
			sh("docker rm -f one two"),
		},
		after: []check{gone("foo"), gone("foo.85")},
	}
}

// restarted: links we made are there before any container starts, the same
// ones where they did not go; none that somebody else made comes from us.
func restarted() scene {
	vlan, dummy := link("eth0.88", "vlan 802.1Q id 88 <REORDER_HDR> on eth0"), dummies(1)
	var before string
	note := func(p *play) { before = p.index("eth0.88") }
	same := func(p *play, _ place) error {
		if now := p.index("eth0.88"); now != before {
			return fmt.Errorf("eth0.88 has index %s, had %s: it was made anew", now, before)
		}
		return nil
	}
	return scene{
		name: "restarts", given: []string{"h1: ip link add link eth0 name eth0.89 type vlan id 89 && ip link set eth0.89 up"},
		rows: []row{
			create(lanA+"-o parent=eth0.88 ours", vlan),
			create(lanB + "-o parent=eth0.89 theirs"),
			create("--subnet=10.83.0.0/24 -o scope=local inside", dummy),
			run("one", "--net=ours --restart=always"),
			run("two", "--net=theirs"),
			does("note the link", note),
			does("restart the agent", restartAgent, vlan, same, dummy, from("one", link("eth0", "macvlan bridge on eth0.88"))),
			does("kill the agent", killAgent, vlan, same, dummy),
			does("restart the engine", restartEngine, vlan, same, dummy, from("one", link("eth0", "macvlan bridge on eth0.88"))),
			does("cut the power", cutPower, gone("eth0.88"), gone("eth0.89"), dummies(0)),
			does("start the agent alone", startAgentAgain, later(vlan), later(dummy), gone("eth0.89")),
			does("start the engine", startEngine, from("one", link("eth0", "macvlan bridge on eth0.88")), gone("eth0.89")),
			sh("docker start two 2>&1 | grep 'somebody else had made this VLAN link and it is gone'", gone("eth0.89")),
			sh("ip link add link eth0 name eth0.89 type vlan id 89 && ip link set eth0.89 up && docker start two"),
		},
		after: []check{gone("eth0.88"), there("eth0.89"), dummies(0)},
	}
}

// index is the kernel's number of a link of h1.
func (p *play) index(name string) string {
	l, err := p.place("h1").link(p.t.Context(), name)
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(l.Index)
}

// mac is that of a link of h1.
func (p *play) mac(name string) string {
	l, err := p.place("h1").link(p.t.Context(), name)
	if err != nil {
		return err.Error()
	}
	return l.MAC
}

func restartContainer(name string) func(p *play) {
	return func(p *play) {
		p.docker(p.Hosts[0], "", "docker restart -t 0 "+name)
		p.adopt(p.Hosts[0], name)
	}
}

func restartAgent(p *play) {
	if err := p.agents[0].Restart(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.waitTrusted(p.Hosts[0])
}

func killAgent(p *play) {
	if err := p.agents[0].Kill(); err != nil {
		p.t.Fatal(err)
	}
	startAgentAgain(p)
}

func startAgentAgain(p *play) {
	if err := p.agents[0].Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.waitTrusted(p.Hosts[0])
}

func restartEngine(p *play) {
	if err := p.Hosts[0].Engine.Restart(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.awaitRunning("one")
	p.docker(p.Hosts[0], "", "docker start two")
}

func startEngine(p *play) {
	if err := p.Hosts[0].Engine.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.awaitRunning("one")
}

// awaitRunning waits for a container that the engine starts by itself.
func (p *play) awaitRunning(name string) {
	p.t.Helper()
	p.eventually(name+" to run", func() error {
		var c struct {
			State struct{ Running bool }
		}
		if err := p.api(p.Hosts[0], "/containers/"+name+"/json", &c); err != nil {
			return err
		}
		if !c.State.Running {
			return fmt.Errorf("%s does not run", name)
		}
		return nil
	})
	p.adopt(p.Hosts[0], name)
}

// cutPower ends everything on the host at once; it comes back without links.
func cutPower(p *play) {
	h := p.Hosts[0]
	if err := h.Crash(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	if err := h.Boot(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	links, err := h.Links()
	if err != nil || !strings.Contains(strings.Join(links, " "), "eth1") {
		p.t.Fatalf("links after the power cut: %v (%v)", links, err)
	}
	p.card(h.Machine)
}
