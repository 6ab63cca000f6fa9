package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"gvlan/tests/browser"
	"gvlan/tests/lab"
)

// pageAt is where gvlan web serves the page, on the loopback of the host that it is
// typed on.
const pageAt = "127.0.0.1:8470"

// lively makes what there is to see on the page: a network with containers, and
// addresses in other states.
func (d *demo) lively() error {
	say("Something to look at: a network with a dozen containers, and addresses that are kept for other things.")
	// A machine that is none of the cluster's uses one of the addresses.
	if err := d.Peer.AddAddress(netip.MustParsePrefix("10.77.0.7/24")); err != nil {
		return err
	}
	_, err := d.do(d.h1, "docker", "network", "create", "-d", "gvlan", "--ipam-driver", "gvlan", "--subnet", "10.77.0.0/24",
		"--aux-address", "printer=10.77.0.40", "--ipam-opt", "exclude=10.77.0.208-10.77.0.218", "--ipam-opt", "cooldown=1h", "-o", "parent=eth1", "lan1")
	if err != nil {
		return err
	}
	if err := d.wait("lan1 on h2", func() error { return d.stands(d.h2, "lan1") }); err != nil {
		return err
	}
	const network = "--network=lan1"
	for i, words := range [][]string{
		{network, "--name=web"}, {network, "--name=db"}, {network, "--name=cache"}, {network, "--name=queue"}, {network, "--name=wiki"}, {network, "--name=git"},
		{network, "--name=ci"}, {network, "--name=metrics"}, {network, "--name=search"}, {network, "--name=backup"}, {network, "--name=old"},
		{network, "--name=mail", "--ip=10.77.0.100"}, {network, "--name=proxy", "--ip=10.77.0.101"},
	} {
		run := append([]string{"docker", "run", "-d"}, words...)
		if _, err := d.do(d.Hosts[i%2], append(run, "busybox", "sleep", "100000")...); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		h     *lab.Host
		words []string
	}{
		{d.h1, []string{"gvlan", "reserve", "lan1", "10.77.0.52-10.77.0.55", "--note", "cameras"}},
		{d.h2, []string{"docker", "stop", "-t", "0", "backup"}},
		{d.h1, []string{"docker", "rm", "-f", "old"}},
	} {
		if _, err := d.do(c.h, c.words...); err != nil {
			return err
		}
	}
	return nil
}

// web starts gvlan web on the first host, which goes on until the host ends, and
// gives its link.
func (d *demo) web() (link string, err error) {
	typed(d.h1, []string{"gvlan", "web"})
	command, err := d.h1.Start("web", nil, "gvlan", "web")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`http://127\.0\.0\.1:8470/\?key=\S+`)
	err = d.wait("gvlan web to print a link", func() error {
		said, err := os.ReadFile(command.Log)
		if link = found.FindString(string(said)); link == "" && err == nil {
			err = fmt.Errorf("it says %q", said)
		}
		return err
	})
	return link, err
}

// see opens a way from this computer to the page of the first host, whose loopback
// is its own, until ctx ends; wait is until nobody goes it any more.
func (d *demo) see(ctx context.Context) (link string, wait func(), err error) {
	say("The page of the cluster, as every host has it.")
	door, err := (&net.ListenConfig{}).Listen(ctx, "tcp", pageAt)
	if err != nil {
		return "", nil, fmt.Errorf("open a way to the page: %w", err)
	}
	context.AfterFunc(ctx, func() { door.Close() })
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			conn, err := door.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { d.pass(ctx, conn) })
		}
	})
	link, err = d.web()
	return link, passing.Wait, err
}

// pass passes a connection on to gvlan web on the first host.
func (d *demo) pass(ctx context.Context, here net.Conn) {
	defer here.Close()
	there, err := d.h1.DialContext(ctx, "tcp", pageAt)
	if err != nil {
		return // the browser says that nothing answers
	}
	defer there.Close()
	defer context.AfterFunc(ctx, func() { here.Close() })()
	browser.Join(here, there)
}

// picture takes one of the page of a subnet, as a PNG.
func picture(ctx context.Context, file string) (err error) {
	d, err := newDemo(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := errors.Join(d.agents(), d.lively()); err != nil {
		d.explain()
		return err
	}
	link, err := d.web()
	if err != nil {
		return err
	}
	chromium, err := browser.Start(ctx, browser.Options{Dial: d.h1.DialContext, Folder: filepath.Join(d.Dir, "chromium"), Env: []string{d.Mark()}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, chromium.Close()) }()
	tab, err := chromium.Open(browser.Look{Height: 800})
	if err != nil {
		return err
	}
	if _, err := tab.Go(link); err != nil {
		return err
	}
	if _, err := tab.Go("http://" + pageAt + "/subnet?network=lan1&subnet=10.77.0.0/24"); err != nil {
		return err
	}
	// Names of containers follow a moment after they were started.
	err = d.wait("all containers to be shown by name", func() error {
		named, err := browser.Eval[bool](tab, `["web", "metrics", "backup"].every(name => document.getElementById("main").innerHTML.includes(">" + name + "<"))`)
		if err == nil && !named {
			err = errors.New("some are not")
		}
		return err
	})
	if err != nil {
		return err
	}
	// What is said of a square is seen while it has the focus.
	if _, err := browser.Eval[bool](tab, `document.getElementById("a-10.77.0.100").focus({focusVisible: true}) || true`); err != nil {
		return err
	}
	taken, err := tab.Picture()
	if err != nil {
		return err
	}
	return os.WriteFile(file, taken, 0o644)
}
