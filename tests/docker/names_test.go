package docker_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"gvlan/driver/netns"
	"gvlan/tests/lab"
)

// TestNames: containers find each other by name on every host, with nothing
// configured. Every name asked for lives on another host than the container
// that asks, unless it says otherwise: Docker's own resolver knows those of
// its host.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, release := range both {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, options{hosts: lab.Same(5, release), args: []string{"--dns-listen", "127.0.0.66:53,127.0.0.1:5354"}})
			n := &named{cluster: c, upstream: c.newUpstream()}
			n.scenario("a service on three of five hosts", serviceOnThreeHosts)
			n.scenario("from the first question on", namesFromTheFirstQuestion)
			n.scenario("networks know nothing of each other", networksApart)
			n.scenario("names follow containers", namesFollow)
			n.scenario("an engine crashes", namesOfACrashedEngine)
			n.scenario("one name on two hosts", nameOnTwoHosts)
			n.scenario("the agent goes and comes back", namesWithoutAgent)
			n.scenario("the host and its tools", namesOnHost)
			n.scenario("what dns/README.md shows", namesInREADME)
			if release != lab.Docker20 { // engines before 28 cannot leave IPv4 out
				n.scenario("IPv6 only", namesIPv6Only)
			}
		})
	}
}

// named is a cluster whose containers ask a name server on the LAN about
// the rest of the world.
type named struct {
	*cluster
	upstream *upstream
}

func (n *named) scenario(name string, play func(*named)) {
	n.t.Helper()
	n.cluster.scenario(name, func(c *cluster) { play(&named{cluster: c, upstream: n.upstream}) })
}

// dualNetwork makes a network of both families, numbered, with the upstream
// on it.
func (n *named) dualNetwork(name string, number int, flags ...string) {
	n.t.Helper()
	four, six := fmt.Sprintf("10.160.%d.", number), fmt.Sprintf("fd60:%d::", number)
	n.joinLAN(four + "250/24")
	n.network(n.Hosts[0], name, append([]string{"--subnet", four + "0/24", "--ipv6", "--subnet", six + "/64", "-o", "parent=eth1"}, flags...)...)
}

// start runs a container on a numbered network.
func (n *named) start(h *lab.Host, network string, number int, name string, flags ...string) member {
	n.t.Helper()
	n.run(h, network, name, append([]string{"--dns", fmt.Sprintf("10.160.%d.250", number)}, flags...)...)
	return n.member(h, network, name)
}

// member is a container on a network.
type member struct {
	asker
	host   *lab.Host
	v4, v6 string
}

func (n *named) member(h *lab.Host, network, name string) member {
	n.t.Helper()
	e := n.inspect(h, network, name)
	return member{asker: n.asker(h, name), host: h, v4: e.IPAddress, v6: e.GlobalIPv6Address}
}

// serviceOnThreeHosts is what compose makes of a service scaled to six. Two
// more hosts only ask.
func serviceOnThreeHosts(n *named) {
	n.dualNetwork("shop", 1)
	var webs []member
	var v4, v6 []string
	run := n.start(n.Hosts[1], "shop", 1, "shop-web-run-1", // as compose run makes it
		"--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web", "--label", "com.docker.compose.oneoff=True")
	for i := range 6 {
		w := n.start(n.Hosts[i%3], "shop", 1, fmt.Sprintf("shop-web-%d", i+1),
			"--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web", "--network-alias", "web")
		webs, v4, v6 = append(webs, w), append(v4, w.v4), append(v6, w.v6)
	}
	for _, w := range webs {
		w.gets("web", "A", v4...)
		w.gets("web", "AAAA", v6...)
		w.gets(w.name, "A", w.v4)
		w.gets(run.name, "A", run.v4)
		for _, other := range webs {
			if other.host == w.host {
				continue
			}
			w.gets(other.name, "A", other.v4)
			w.gets(reverse(n.t, netip.MustParseAddr(other.v4)), "PTR", other.name+".shop.gvlan.internal.")
		}
	}
	for _, h := range n.Hosts[3:] {
		asks := n.start(h, "shop", 1, "asks-"+h.Name)
		asks.gets("web", "A", v4...)
		asks.gets("web", "AAAA", v6...)
		for _, w := range webs {
			asks.gets(w.name, "A", w.v4)
			asks.gets(reverse(n.t, netip.MustParseAddr(w.v6)), "PTR", w.name+".shop.gvlan.internal.")
		}
	}
	n.everyType(webs)
	n.rest(webs[0])
	n.lastOfADeadNode(webs)
}

// everyType asks for each type of record from the two other hosts.
func (n *named) everyType(webs []member) {
	db := n.start(n.Hosts[1], "shop", 1, "db", "--network-alias", "store", "--hostname", "dbhost",
		"--expose", "80", "--label", "gvlan.txt=hello", "--label", "gvlan.srv.http=8080")
	id := n.Hosts[1].MustDocker(n.t, "inspect", "-f", "{{.Id}}", "db")[:12]
	const full = "db.shop.gvlan.internal."
	for _, w := range []member{webs[0], webs[2]} {
		for _, name := range []string{"db", "DB", "store", "dbhost", id, "db.shop", full} {
			w.gets(name, "A", db.v4)
			w.gets(name, "AAAA", db.v6)
		}
		w.gets(reverse(n.t, netip.MustParseAddr(db.v4)), "PTR", full)
		w.gets(reverse(n.t, netip.MustParseAddr(db.v6)), "PTR", full)
		w.gets("_80._tcp.db", "SRV", "0 0 80 "+full)
		w.gets("_http._tcp."+full, "SRV", "0 0 8080 "+full)
		w.gets("db", "TXT", `"hello"`)
		w.gets("gvlan.internal", "NS", "ns.gvlan.internal.")
		w.knows([2]string{"gvlan.internal", "SOA"})
		w.knows([2]string{"1.160.10.in-addr.arpa", "SOA"})
		n.wantNegative(w)
	}
	if out := n.Hosts[0].MustDocker(n.t, "exec", webs[0].name, "nslookup", "db."); !strings.Contains(out, db.v4) {
		n.t.Errorf("nslookup in %s says\n%s\nwant %s", webs[0].name, out, db.v4)
	}
}

// wantNegative: a name that is not there is NXDOMAIN, one without the type
// is empty; both with the SOA that lets resolvers remember it.
func (n *named) wantNegative(w member) {
	for _, q := range []struct {
		name  string
		qtype uint16
		rcode int
	}{
		{"nobody.shop.gvlan.internal", miekg.TypeA, miekg.RcodeNameError},
		{"db.shop.gvlan.internal", miekg.TypeMX, miekg.RcodeSuccess},
	} {
		for _, transport := range transports {
			m, err := w.ask(transport, dockerResolver, q.name, q.qtype)
			if err != nil {
				n.t.Errorf("ask for %s over %s: %v", q.name, transport, err)
				continue
			}
			if m.Rcode != q.rcode || len(m.Answer) != 0 || len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != miekg.TypeSOA {
				n.t.Errorf("ask for %s over %s: got\n%v\nwant %s with a SOA", q.name, transport, m, miekg.RcodeToString[q.rcode])
			}
		}
	}
}

// rest: what is not ours goes where --dns says, and nothing of ours does.
func (n *named) rest(w member) {
	w.gets(external, "A", externalAddr)
	if !n.upstream.heard(external) {
		n.t.Errorf("%s was answered, but not by the server of --dns", external)
	}
	w.getsNothing("nobody.example.com", "A")
	if leaked := n.upstream.leaked("gvlan.internal"); len(leaked) > 0 {
		n.t.Errorf("questions left the containers: %v", leaked)
	}
}

// lastOfADeadNode: an agent that dies is missed by its peers, and the
// containers of its host go to the end of the answers; what etcd says of
// them stays as it is. With the agent they come back.
func (n *named) lastOfADeadNode(webs []member) {
	before := n.owned3()
	if err := n.agents[2].Kill(); err != nil {
		n.t.Fatal(err)
	}
	died := time.Now()
	dead := []string{webs[2].v4, webs[5].v4}
	eventually(n.t, "the containers of h3 to go last", func() error {
		for range 20 {
			got, err := addressesInOrder(webs[0].asker, "web")
			if err != nil {
				return err
			}
			if len(got) != 6 || !slices.Contains(dead, got[4]) || !slices.Contains(dead, got[5]) {
				return fmt.Errorf("answer %v, want %v last", got, dead)
			}
		}
		return nil
	})
	fmt.Printf("BENCH dns_dead_node_last_docker_%s_s %.2f\n", n.release(), time.Since(died).Seconds())
	if after := n.owned3(); !slices.Equal(before, after) {
		n.t.Errorf("etcd of h3: %v, want %v as before", after, before)
	}
	n.startAgain(2)
	eventually(n.t, "the containers of h3 to come back", func() error {
		got, err := addressesInOrder(webs[0].asker, "web")
		if err != nil {
			return err
		}
		if !slices.Contains(dead, got[2]) && !slices.Contains(dead, got[3]) {
			return fmt.Errorf("answer %v, want %v before the end at times", got, dead)
		}
		return nil
	})
}

// release is the engines', as the name of a figure has it.
func (n *named) release() string {
	return strings.ReplaceAll(string(n.Hosts[0].Engine.Release), ".", "_")
}

// owned3 is what etcd has of the third host's endpoints and leases.
func (n *named) owned3() []string {
	r := must(n.records())(n.t)
	ofThird := func(line string) bool { return !strings.Contains(line, " on h3") }
	return append(slices.DeleteFunc(r.endpoints, ofThird), slices.DeleteFunc(r.leases, ofThird)...)
}

// addressesInOrder asks once, for IPv4.
func addressesInOrder(a asker, name string) ([]string, error) {
	m, err := a.ask("udp", dockerResolver, name, miekg.TypeA)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, rr := range m.Answer {
		if rr, ok := rr.(*miekg.A); ok {
			all = append(all, rr.A.String())
		}
	}
	return all, nil
}

// networksApart: a container sees the networks it is on, all of them and no
// other; one that is on none has nothing of ours in it.
func networksApart(n *named) {
	n.dualNetwork("lan1", 2)
	n.dualNetwork("lan2", 3)
	n.dualNetwork("quiet", 4, "-o", "dns=off")
	h1, h2, h3 := n.Hosts[0], n.Hosts[1], n.Hosts[2]
	secret := []string{"--network-alias", "hidden", "--expose", "80", "--label", "gvlan.txt=secret"}
	one := n.start(h2, "lan1", 2, "one", secret...)
	two := n.start(h3, "lan2", 3, "two", secret...)
	union := n.start(h1, "lan1", 2, "union")
	h1.MustDocker(n.t, "network", "connect", "lan2", "union")
	union2 := n.member(h1, "lan2", "union")

	for _, m := range []member{one, two} { // everything that must not cross is there
		for _, q := range n.waysTo(m, map[string]string{"one": "lan1", "two": "lan2"}[m.name]) {
			if q[0] != "hidden" {
				union.knows(q)
			}
		}
	}
	one.gets("union", "A", union.v4)
	two.gets("union", "A", union2.v4)
	for _, q := range append(n.waysTo(two, "lan2"), [2]string{reverse(n.t, netip.MustParseAddr(union2.v4)), "PTR"}) {
		if q[0] != "hidden" {
			one.neverGets(q[0], q[1])
		}
	}
	for _, q := range append(n.waysTo(one, "lan1"), [2]string{reverse(n.t, netip.MustParseAddr(union.v4)), "PTR"}) {
		if q[0] != "hidden" {
			two.neverGets(q[0], q[1])
		}
	}
	one.gets("hidden", "A", one.v4)
	n.untouched(one)
	n.ownServer(h3, one)

	h1.MustDocker(n.t, "network", "disconnect", "lan2", "union")
	union.getsNothing("two", "A")
	union.gets("one", "A", one.v4)
}

// waysTo are the questions that lead to a container.
func (n *named) waysTo(m member, network string) [][2]string {
	id := m.host.MustDocker(n.t, "inspect", "-f", "{{.Id}}", m.name)[:12]
	var all [][2]string
	for _, name := range []string{m.name, id, "hidden"} {
		for _, spelled := range []string{name, name + "." + network, name + "." + network + ".gvlan.internal"} {
			for _, qtype := range []string{"A", "AAAA", "TXT"} {
				all = append(all, [2]string{spelled, qtype})
			}
		}
	}
	return append(all,
		[2]string{"_80._tcp." + m.name, "SRV"},
		[2]string{"_80._tcp." + m.name + "." + network + ".gvlan.internal", "SRV"},
		[2]string{reverse(n.t, netip.MustParseAddr(m.v4)), "PTR"},
		[2]string{reverse(n.t, netip.MustParseAddr(m.v6)), "PTR"},
	)
}

// knows waits until a question has an answer.
func (a asker) knows(q [2]string) {
	a.c.t.Helper()
	for _, transport := range transports {
		eventually(a.c.t, fmt.Sprintf("%s to know %s %s", a.name, q[1], q[0]), func() error {
			m, err := a.ask(transport, dockerResolver, q[0], miekg.StringToType[q[1]])
			if err != nil {
				return err
			}
			if len(m.Answer) == 0 {
				return fmt.Errorf("got %v", m)
			}
			return nil
		})
	}
}

// untouched: no rule of ours where no name of ours is answered, and Docker's
// resolver does there what it always did.
func (n *named) untouched(one member) {
	h1 := n.Hosts[0]
	h1.MustDocker(n.t, "network", "create", "bridged")
	n.run(h1, "bridged", "plain", "--dns", n.Peer.Addr4.String())
	n.run(h1, "bridged", "neighbour")
	quiet, quieter := n.start(h1, "quiet", 4, "quiet1"), n.start(n.Hosts[1], "quiet", 4, "quiet2")
	local := n.start(h1, "quiet", 4, "quiet3")
	plain := n.asker(h1, "plain")
	plain.gets("neighbour", "A", n.address(h1, "bridged", "neighbour").String())
	plain.neverGets("one", "A")
	quiet.neverGets("quiet2", "A")
	quiet.neverGets("quiet2.quiet.gvlan.internal", "A")
	quiet.neverGets(reverse(n.t, netip.MustParseAddr(quieter.v4)), "PTR")
	quiet.gets("quiet3", "A", local.v4)
	quiet.gets(external, "A", externalAddr)
	one.wantRules("gvlan_dns") // so that the next two mean something
	for _, a := range []asker{plain, quiet.asker} {
		if got := a.rules(); got != "" {
			n.t.Errorf("%s has rules %q, want none", a.name, got)
		}
	}
	h1.MustDocker(n.t, "rm", "-f", "plain", "neighbour")
	h1.MustDocker(n.t, "network", "rm", "bridged")
}

// ownServer: a container that serves names itself has port 53 to itself, on
// loopback too, and is asked by others as ever.
func (n *named) ownServer(h *lab.Host, from member) {
	own := n.start(h, "lan1", 2, "own")
	own.wantRules("gvlan_dns")
	u := &upstream{asked: map[string]bool{}}
	err := netns.Do(own.box, func() error {
		packets, streams, err := listenBoth(n.t.Context(), "0.0.0.0:53")
		if err == nil {
			serve(n.t, packets, streams, u.answer)
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, transport := range transports {
		for who, server := range map[asker]string{from.asker: own.v4 + ":53", own.asker: "127.0.0.1:53"} {
			m, err := who.ask(transport, server, external, miekg.TypeA)
			if err != nil || !slices.Equal(data(m.Answer), []string{externalAddr}) {
				n.t.Errorf("%s asks the server in own over %s: %v, %v", who.name, transport, m, err)
			}
		}
	}
	own.gets("one", "A", from.v4)
}

// namesFollow: renames, aliases, disconnects, restarts and removals are seen
// on the other host.
func namesFollow(n *named) {
	n.dualNetwork("moves", 5)
	h1, h2 := n.Hosts[0], n.Hosts[1]
	w := n.start(h1, "moves", 5, "web")
	a := n.start(h2, "moves", 5, "first", "--network-alias", "kept")
	w.gets("first", "A", a.v4)

	h2.MustDocker(n.t, "rename", "first", "second")
	w.gets("second", "A", a.v4)
	w.getsNothing("first", "A")
	w.gets("kept", "A", a.v4)
	w.gets(reverse(n.t, netip.MustParseAddr(a.v4)), "PTR", "second.moves.gvlan.internal.")

	h2.MustDocker(n.t, "network", "create", "bridged")
	n.run(h2, "bridged", "late", "--dns", n.Peer.Addr4.String())
	h2.MustDocker(n.t, "network", "connect", "--alias", "nick", "moves", "late")
	late := n.member(h2, "moves", "late")
	w.gets("late", "A", late.v4)
	w.gets("nick", "A", late.v4)
	late.gets("web", "A", w.v4)
	h2.MustDocker(n.t, "network", "disconnect", "moves", "late")
	w.getsNothing("late", "A")
	w.getsNothing("nick", "A")
	late.wantRules("")
	late.getsNothing("web", "A")

	h2.MustDocker(n.t, "restart", "second")
	again := n.member(h2, "moves", "second")
	w.gets("second", "A", again.v4)
	again.gets("web", "A", w.v4)
	h2.MustDocker(n.t, "stop", "second")
	w.getsNothing("second", "A")
	h2.MustDocker(n.t, "start", "second")
	w.gets("kept", "A", n.member(h2, "moves", "second").v4)
	spelled := n.start(h2, "moves", 5, "x_1", "--network-alias", "_x")
	w.gets("x-1", "A", spelled.v4)
	w.gets("_x", "A", spelled.v4)
	dash := n.start(h1, "moves", 5, "x-1")
	for _, m := range []member{w, n.member(h2, "moves", "second")} {
		m.gets("x_1", "A", spelled.v4)
		m.gets("x-1", "A", dash.v4)
	}
	h1.MustDocker(n.t, "rm", "-f", "x-1")
	h2.MustDocker(n.t, "rm", "-f", "second", "late", "x_1")
	h2.MustDocker(n.t, "network", "rm", "bridged")
	w.getsNothing("kept", "A")
}

// namesIPv6Only: Docker's resolver has its IPv4 address there too.
func namesIPv6Only(n *named) {
	h1, h2 := n.Hosts[0], n.Hosts[1]
	n.joinLAN("fd66::250/64")
	n.network(h1, "six", "--ipv4=false", "--ipv6", "--subnet", "fd66::/64", "-o", "parent=eth1")
	n.run(h1, "six", "asks6", "--dns", "fd66::250")
	far := n.run(h2, "six", "far6")
	a := n.asker(h1, "asks6")
	a.gets("far6", "AAAA", far.String())
	a.gets("far6", "A")
	a.gets(reverse(n.t, far), "PTR", "far6.six.gvlan.internal.")
	a.gets(external, "A", externalAddr)
}
