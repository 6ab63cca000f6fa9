package browser_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"gvlan/tests/browser"
	"gvlan/tests/lab"
)

// patience bounds waits for events; no result is judged by it.
const patience = 30 * time.Second

// cluster is three hosts with a browser that looks at the first one's page.
type cluster struct {
	*lab.Lab
	t          *testing.T
	binary     string
	h1, h2, h3 *lab.Host
	browser    *browser.Browser
	home       string // URL of the page, without a path
}

// TestPage plays every scene on one cluster, whose hosts are as they were before
// each.
func TestPage(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.settle()
	c.scene("views", (*cluster).views)
	c.scene("live", (*cluster).live)
	c.scene("without scripts", (*cluster).scriptless)
	c.scene("search", (*cluster).search)
	c.scene("keyboard", (*cluster).keyboard)
	c.scene("gvlan web", (*cluster).command)
	c.scene("on the LAN", (*cluster).lan)
	c.scene("hostile names", (*cluster).hostile)
}

func (c *cluster) scene(name string, play func(*cluster)) {
	c.t.Run(name, func(t *testing.T) {
		in := *c
		in.t = t
		play(&in)
	})
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	engines := lab.Engines(lab.Docker28, lab.Docker20)
	last := engines[len(engines)-1]
	l := lab.New(t, lab.Options{Hosts: append(lab.Same(2, engines[0]), lab.HostOptions{Release: last})})
	c := &cluster{Lab: l, t: t, h1: l.Hosts[0], h2: l.Hosts[1], h3: l.Hosts[2]}
	built := must(lab.Build(t.Context(), "gvlan/cmd/gvlan", "-ldflags", "-s -w"))(t)
	c.binary = must(l.Install(built))(t)
	etcd := must(l.NewEtcd(t.Context(), lab.EtcdOptions{}))(t)
	for _, h := range l.Hosts {
		args := []string{"agent", "--node-name", h.Name, "--etcd-endpoints", etcd.Endpoint(), "--log-level", "debug"}
		if h == c.h3 {
			args = append(args, "--web-listen", lanDoor, "--web-password", password)
		}
		must(h.StartAgent(t.Context(), lab.AgentOptions{Binary: c.binary, Args: args}))(t)
	}
	for _, h := range l.Hosts {
		c.eventually("etcd to answer the agent of "+h.Name, func() error { return c.trusted(h) })
	}
	c.browser = must(browser.Start(context.WithoutCancel(t.Context()), browser.Options{Folder: filepath.Join(l.Dir, "chromium"), Env: []string{l.Mark()}}))(t)
	t.Cleanup(func() {
		if err := c.browser.Close(); err != nil {
			t.Error(err)
		}
	})
	c.home = c.site(c.h1)
	return c
}

// trusted is nil when a host's agent would give addresses.
func (c *cluster) trusted(h *lab.Host) error {
	out, err := h.Exec(c.t.Context(), c.binary, "status", "--json")
	if err != nil {
		return err
	}
	var status struct{ Etcd struct{ Trusted bool } }
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return err
	}
	if !status.Etcd.Trusted {
		return errors.New("its status is " + out)
	}
	return nil
}

// site is where the page of a host is seen from this computer.
func (c *cluster) site(h *lab.Host) string {
	site := must(browser.Serve(c.t.Context(), h.Path("/run/gvlan/gvlan.sock")))(c.t)
	c.t.Cleanup(func() {
		if err := site.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return site.URL
}

// settle makes what every scene finds: networks, and of the first one's addresses
// one in each state that costs little.
func (c *cluster) settle() {
	c.t.Helper()
	// Somebody who is none of the cluster's has the second address to be given.
	if err := c.Peer.AddAddress(netip.MustParsePrefix("10.77.0.129/24")); err != nil {
		c.t.Fatal(err)
	}
	c.network("lan1", "--subnet", "10.77.0.0/24", "--ip-range", "10.77.0.128/25", "--aux-address", "printer=10.77.0.9", "-o", "parent=eth1", "--ipam-opt", "exclude=10.77.0.200-10.77.0.210")
	c.network("wide", "--subnet", "10.80.0.0/16", "-o", "parent=eth1")
	c.run(c.h1, "lan1", "web", "--network-alias", "www")
	c.run(c.h2, "lan1", "db")
	c.run(c.h3, "lan1", "mail")
	c.run(c.h2, "wide", "cache")
	c.run(c.h3, "lan1", "halted")
	c.h3.MustDocker(c.t, "stop", "-t", "0", "halted")
	c.h1.MustExec(c.t, c.binary, "reserve", "lan1", "10.77.0.20-10.77.0.22", "--note", "cameras")
}

// network makes a network and waits until every host has it.
func (c *cluster) network(name string, flags ...string) {
	c.t.Helper()
	args := append([]string{"network", "create", "-d", "gvlan", "--ipam-driver", "gvlan"}, flags...)
	c.h1.MustDocker(c.t, append(args, name)...)
	for _, h := range c.Hosts {
		c.eventually(name+" on "+h.Name, func() error {
			_, err := h.Docker(c.t.Context(), "network", "inspect", name)
			return err
		})
	}
}

// run starts a container that sleeps, and gives its address.
func (c *cluster) run(h *lab.Host, network, name string, flags ...string) string {
	c.t.Helper()
	args := append([]string{"run", "-d", "--stop-signal", "KILL", "--network", network, "--name", name}, flags...)
	h.MustDocker(c.t, append(args, "busybox", "sleep", "100000")...)
	return c.endpoint(h, network, name).IPAddress
}

// endpoint is what Docker says of a container on a network.
type endpoint struct{ IPAddress, MacAddress string }

func (c *cluster) endpoint(h *lab.Host, network, name string) endpoint {
	c.t.Helper()
	var inspected struct {
		NetworkSettings struct{ Networks map[string]endpoint }
	}
	if err := h.Engine.Get(c.t.Context(), "/containers/"+name+"/json", &inspected); err != nil {
		c.t.Fatal(err)
	}
	return inspected.NetworkSettings.Networks[network]
}

// tab opens a tab, which must have had nothing to complain of when the scene ends,
// and asked nobody else.
func (c *cluster) tab(look browser.Look) *browser.Tab {
	c.t.Helper()
	tab := must(c.browser.Open(look))(c.t)
	c.t.Cleanup(func() {
		c.calm(tab, "in the end")
		tab.Close()
	})
	return tab
}

// calm is that the console has nothing to say, and that nobody but the site was
// asked.
func (c *cluster) calm(tab *browser.Tab, where string) {
	c.t.Helper()
	for _, fault := range tab.Faults() {
		c.t.Errorf("%s the console says: %s", where, fault)
	}
	for _, stranger := range tab.Strangers(c.home) {
		c.t.Errorf("%s the page asked %s", where, stranger)
	}
}

// open goes to a page of the site, which must be answered.
func (c *cluster) open(tab *browser.Tab, path string) {
	c.t.Helper()
	if status := must(tab.Go(c.home + path))(c.t); status != http.StatusOK {
		c.t.Fatalf("%s is answered %d", path, status)
	}
}

// shows waits until an expression of JavaScript is true of the page.
func (c *cluster) shows(tab *browser.Tab, expression string) {
	c.t.Helper()
	c.eventually(expression, func() error {
		holds, err := browser.Eval[bool](tab, expression)
		if err == nil && !holds {
			text, _ := browser.Eval[string](tab, `document.location.pathname + ": " + document.body.innerText`)
			err = errors.New("the page shows " + text)
		}
		return err
	})
}

// eventually waits for a condition, and fails with its last complaint.
func (c *cluster) eventually(what string, condition func() error) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
	}
}

// quoted is a string of JavaScript.
func quoted(text string) string {
	literal, err := json.Marshal(text)
	if err != nil {
		panic(fmt.Sprintf("%q: %v", text, err))
	}
	return string(literal)
}

// must ends the test when a step that is no claim fails.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
