package browser_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"gvlan/tests/bench/crowd"
	"gvlan/tests/browser"
)

const (
	loads   = 120 // of pages, after which memory is compared with what it was after half of them
	streams = 20  // pages that are open meanwhile
	// flat is by how much memory may grow then: rubbish that is not collected yet, and
	// no more.
	flat = 1.25
)

// TestMany opens the page of a subnet with 10,000 containers, and again and again
// while others have it open: the agent's memory does not grow with that.
func TestMany(t *testing.T) {
	t.Parallel() // to what waits for engines
	agent := must(crowd.Begin(t.Context()))(t)
	t.Cleanup(func() {
		if err := agent.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := agent.Fill(t.Context(), many()); err != nil {
		t.Fatal(err)
	}
	site := must(browser.Serve(t.Context(), agent.Socket()))(t)
	t.Cleanup(func() { site.Close() })
	chromium := must(browser.Start(context.WithoutCancel(t.Context()), browser.Options{Folder: t.TempDir()}))(t)
	c := &cluster{t: t, browser: chromium, home: site.URL}
	t.Cleanup(func() {
		if err := chromium.Close(); err != nil {
			t.Error(err)
		}
	})
	c.scene("blocks open", (*cluster).blocks)
	c.scene("memory", func(c *cluster) { c.memory(agent) })
}

// many is one /16.
func many() crowd.Size { return crowd.Size{Nodes: 20, Leases: 10000, Networks: 1} }

const wide = "/subnet?network=lan0&subnet=10.0.0.0/16"

// blocks goes from the subnet to one of its addresses.
func (c *cluster) blocks() {
	tab := c.tab(browser.Look{})
	c.open(tab, wide)
	c.view(tab)
	block := `[...document.querySelectorAll("main a")].find(a => decodeURIComponent(a.search).includes("at=10.0.4.0/"))`
	must(browser.Eval[bool](tab, block+`.click() || true`))(c.t)
	c.shows(tab, `document.getElementById(`+quoted(square(many().Address(1021).String()))+`)?.outerHTML.includes(`+quoted(crowd.Container(1021))+`)`)
	c.view(tab)
}

// memory looks at the subnet over and over.
func (c *cluster) memory(agent *crowd.Agent) {
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", agent.Socket())
	}}}
	ctx, done := context.WithCancel(c.t.Context())
	var open errgroup.Group
	heard := make(chan struct{}, streams)
	for range streams {
		open.Go(func() error { return listen(ctx, socket, heard) })
	}
	for range streams {
		<-heard
	}
	load := func(n int) (grown float64) {
		for range n {
			if _, err := fetch(ctx, socket, wide); err != nil {
				c.t.Fatal(err)
			}
		}
		return must(agent.MemoryMiB())(c.t)
	}
	half := load(loads / 2)
	all := load(loads / 2)
	c.t.Logf("%.0f MiB after %d loads, %.0f MiB after %d", half, loads/2, all, loads)
	if all > half*flat {
		c.t.Errorf("the agent has %.0f MiB after %d loads, and %.0f MiB after %d", half, loads/2, all, loads)
	}
	done()
	if err := open.Wait(); err != nil {
		c.t.Error(err)
	}
}

// listen is a page that is open: it hears that something may have changed until
// ctx ends.
func listen(ctx context.Context, client *http.Client, heard chan<- struct{}) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/web/live", http.NoBody)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	first := true
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if first && strings.HasPrefix(lines.Text(), "event:") {
			first = false
			heard <- struct{}{}
		}
	}
	if ctx.Err() == nil {
		return fmt.Errorf("the stream ended by itself, status %d", answer.StatusCode)
	}
	return nil
}

// fetch is a page as it is sent.
func fetch(ctx context.Context, client *http.Client, page string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/web"+page, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s is answered %d", page, answer.StatusCode)
	}
	return body, err
}
