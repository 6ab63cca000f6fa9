package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gvlan/tests/lab"
)

// document is one of the texts gvlan grew from, as examples that are run.
type document struct {
	title string
	// creates and runs count the text's `docker network create` and `docker
	// run` examples: each of them is a row.
	creates, runs int
	// mended lists what the text prints and cannot be typed, with what is
	// typed instead. Throughout, -d macvlan and -d ipvlan are -d gvlan
	// --ipam-driver gvlan (with -o kind=ipvlan where no mode says it), --rm
	// -it is -d, and alpine and ubuntu are busybox.
	mended []string
	scenes []scene
}

// scene is a part of a document that is typed on one set of hosts.
type scene struct {
	name  string
	given []string // shell commands on the hosts before it, as in "h1: ip link add ..."
	rows  []row
	after []check // on h1, when containers and networks are removed
	with  string  // the title of the document it is played with, where two print it alike
}

// row is one command and what should be seen after it.
type row struct {
	verb    string // create, run, sh or do
	on      int    // index of the host
	text    string // what follows the verb
	name    string // of the container or network
	command string // what the container runs to its end instead of sleeping
	says    string // words of what that prints
	refused string // words of the refusal that is expected instead
	global  string // likewise, where the engine's label says global
	also    bool   // not an example of the document's, but what it says in words
	alone   bool   // made on this host only, where the label says local
	do      func(p *play)
	see     []check
}

// create is `docker network create`; its last word is the network's name.
func create(text string, see ...check) row {
	words := strings.Fields(text)
	return row{verb: "create", text: text, name: words[len(words)-1], see: see}
}

// run is `docker run` of a container that sleeps.
func run(name, text string, see ...check) row {
	return row{verb: "run", text: text, name: name, see: see}
}

// pings is `docker run` of a ping, whose packets must all be answered.
func pings(text, program string, packets int, addr string) row {
	return row{
		verb: "run", text: text, command: fmt.Sprintf("%s -c %d %s", program, packets, addr),
		says: fmt.Sprintf("%d packets transmitted, %d packets received", packets, packets),
	}
}

// sh is anything typed on the host between the examples.
func sh(script string, see ...check) row { return row{verb: "sh", text: script, see: see, also: true} }

// does is anything that is not typed.
func does(what string, do func(p *play), see ...check) row {
	return row{verb: "do", text: what, do: do, see: see, also: true}
}

// also marks a row that the document has in words only.
func also(r row) row { r.also = true; return r }

// onHost types the row on the nth host.
func onHost(n int, r row) row { r.on = n - 1; return r }

// onHost2 types the row on the second host.
func onHost2(r row) row { return onHost(2, r) }

// hereOnly is for a local network that only this host can make.
func hereOnly(r row) row { r.alone = true; return r }

// globally expects the row to be refused where the engine's label says global.
func globally(r row, words string) row { r.global = words; return r }

// refusing expects the row to be refused with these words.
func refusing(r row, words string) row { r.refused = words; return r }

// play is a scene being played.
type play struct {
	*site
	label      string // the scope that the engines' labels say; "" without one
	containers map[string]place
	patience   time.Duration // of its checks
}

func newPlay(s *site, label string) *play {
	return &play{site: s, label: label, containers: map[string]place{}, patience: patience}
}

// playDocument plays every scene that is not played with another document; label is
// the engines' scope.
func playDocument(t *testing.T, s *site, d document, label string) {
	for _, sc := range d.scenes {
		if sc.with != "" && sc.with != d.title {
			continue
		}
		t.Run(sc.name, func(t *testing.T) {
			newPlay(s.on(t), label).scene(sc)
		})
	}
}

func (p *play) scene(sc scene) {
	p.t.Helper()
	for _, line := range sc.given {
		name, script, _ := strings.Cut(line, ": ")
		p.sh(p.machine(name), script)
	}
	for _, r := range sc.rows {
		p.row(r)
		if p.t.Failed() {
			p.explain()
		}
	}
	p.row(does("rm", (*play).clear, sc.after...))
	p.tidy()
}

func (p *play) row(r row) {
	p.t.Helper()
	began := time.Now()
	defer func() { p.t.Logf("%4.1fs %s %s", time.Since(began).Seconds(), r.verb, r.text) }()
	at := p.place(fmt.Sprintf("h%d", r.on+1))
	switch r.verb {
	case "sh":
		p.sh(p.Hosts[r.on].Machine, r.text)
	case "do":
		r.do(p)
	case "create":
		p.create(r)
	case "run":
		p.run(r)
		if c, ok := p.containers[r.name]; ok {
			at = c
		}
	}
	p.see(r.text, at, r.see)
}

// create makes a network; a global one is waited for on the other hosts, a
// local one is made on each by hand.
func (p *play) create(r row) {
	p.t.Helper()
	hosts := p.Hosts[r.on : r.on+1]
	if p.label == "local" && !r.alone {
		hosts = p.Hosts
	}
	words := r.refused
	if p.label == "global" && r.global != "" {
		words = r.global
	}
	made := words == ""
	for _, h := range hosts {
		_, as := p.docker(h, words, "docker network create -d gvlan --ipam-driver gvlan "+r.text)
		made = made && as
	}
	if !made { // it is not waited for
		return
	}
	if p.label != "local" {
		hosts = p.Hosts
	}
	for _, h := range hosts {
		p.eventually("network "+r.name+" on "+h.Name, func() error {
			return p.api(h, "/networks/"+r.name, &struct{}{})
		})
	}
}

func (p *play) run(r row) {
	p.t.Helper()
	h := p.Hosts[r.on]
	if r.command != "" {
		if out, _ := p.docker(h, r.refused, "docker run --rm "+r.text+" busybox "+r.command); !strings.Contains(out, r.says) {
			p.t.Errorf("%s on %s says\n\t%s\nwant\n\t%s", r.command, h.Name, out, r.says)
		}
		return
	}
	named := ""
	if !strings.Contains(r.text, "--name") {
		named = "--name " + r.name + " "
	}
	p.docker(h, r.refused, "docker run -d "+named+r.text+" busybox sleep 1000000")
	if r.refused != "" {
		p.docker(h, "", "docker rm -f "+r.name)
		return
	}
	p.adopt(h, r.name)
}

// docker types a command, which must succeed, or be refused with these words, and
// reports whether it is as it must be.
func (p *play) docker(h *lab.Host, refused, line string) (out string, as bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	out, err := h.Exec(ctx, "sh", "-c", line+" 2>&1")
	switch {
	case refused == "" && err != nil:
		p.t.Errorf("%s on %s: %v: %s", line, h.Name, err, out)
	case refused != "" && err == nil:
		p.t.Errorf("%s on %s succeeded, want it refused: %s", line, h.Name, refused)
	case refused != "" && !strings.Contains(out, refused):
		p.t.Errorf("%s on %s says\n\t%s\nwant\n\t%s", line, h.Name, out, refused)
	default:
		as = true
	}
	return out, as
}

// adopt takes a running container in.
func (p *play) adopt(h *lab.Host, name string) {
	p.t.Helper()
	var c struct{ State struct{ Pid int } }
	if err := p.api(h, "/containers/"+name+"/json", &c); err != nil || c.State.Pid == 0 {
		p.t.Errorf("container %s on %s has no process: %v", name, h.Name, err)
		return
	}
	p.containers[name] = place{name: name, ns: h.Path(fmt.Sprintf("/proc/%d/ns/net", c.State.Pid)), host: h.Machine}
}

// machine is a machine by its name.
func (p *play) machine(name string) *lab.Machine {
	for _, h := range p.Hosts {
		if h.Name == name {
			return h.Machine
		}
	}
	if name == p.LAN.Name {
		return p.LAN.Machine
	}
	return p.Peer.Machine
}

// place is a container or machine by its name.
func (p *play) place(name string) place {
	if c, ok := p.containers[name]; ok {
		return c
	}
	return hostPlace(p.machine(name))
}

// see checks everything at once: most of it is waiting.
func (p *play) see(what string, at place, all []check) {
	p.t.Helper()
	failed := make([]error, len(all))
	var group sync.WaitGroup
	for i, c := range all {
		group.Go(func() { failed[i] = c(p, at) })
	}
	group.Wait()
	for i, err := range failed {
		if err != nil {
			p.t.Errorf("%s: check %d of %d: %v", what, i+1, len(all), err)
		}
	}
}

// clear removes containers and networks.
func (p *play) clear() {
	p.t.Helper()
	for _, h := range p.Hosts {
		if err := h.Engine.Clear(p.t.Context()); err != nil {
			p.t.Error(err)
		}
	}
	for _, h := range p.Hosts {
		networks, err := p.networks(h)
		if err != nil {
			p.t.Error(err)
		}
		for _, name := range networks {
			// The removal of a global network may be here before the command.
			_ = h.Engine.Delete(p.t.Context(), "/networks/"+name)
		}
	}
	p.containers = map[string]place{}
	p.eventually("networks to be gone", func() error {
		var errs []error
		for _, h := range p.Hosts {
			left, err := p.networks(h)
			errs = append(errs, err)
			if len(left) > 0 {
				errs = append(errs, fmt.Errorf("%s lists %v", h.Name, left))
			}
		}
		return errors.Join(errs...)
	})
}

// networks names the gvlan networks of a host.
func (p *play) networks(h *lab.Host) (names []string, err error) {
	var all []struct{ Name string }
	err = p.api(h, `/networks?filters={"driver":["gvlan"]}`, &all)
	for _, n := range all {
		names = append(names, n.Name)
	}
	return names, err
}

// tidy checks that no link of ours is left, and takes back what a scene did to
// the hosts.
func (p *play) tidy() {
	p.t.Helper()
	for _, h := range p.Hosts {
		links, err := hostPlace(h.Machine).links(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, l := range links {
			if strings.HasPrefix(l.Alias, "gvlan:") {
				p.t.Errorf("link %s is left on %s: %s", l.Name, h.Name, l.Alias)
			}
			if !slices.Contains([]string{"lo", "eth0", "eth1"}, l.Name) {
				p.sh(h.Machine, "ip link del "+l.Name+" || true") // may go with another
			}
		}
	}
	for _, m := range []*lab.Machine{p.Hosts[0].Machine, p.Hosts[len(p.Hosts)-1].Machine, p.Peer.Machine} {
		p.sh(m, "ip addr flush dev eth0 scope global && ip link set eth0 up")
	}
}

// explain ends a scene in which a row failed.
func (p *play) explain() {
	p.t.Helper()
	p.tell("h1")
	p.clear()
	p.tidy()
	p.t.FailNow()
}

// tell shows what these hosts and all containers have.
func (p *play) tell(hosts ...string) {
	p.t.Helper()
	for _, name := range append(hosts, keys(p.containers)...) {
		at := p.place(name)
		out, _ := at.try(p.t.Context(), "sh", "-c", "ip -d addr; ip route; ip -6 route; ip neigh")
		p.t.Logf("on %s:\n%s", name, out)
	}
}

func keys[T any](m map[string]T) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
