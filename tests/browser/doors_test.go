package browser_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"gvlan/tests/browser"
)

// Where one host's agent serves the page itself.
const (
	lanDoor  = "10.99.0.3:8470"
	password = "sesame-open-for-tests"
)

// from starts a browser on a machine.
func (c *cluster) from(name string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *cluster {
	c.t.Helper()
	in := *c
	in.browser = must(browser.Start(context.WithoutCancel(c.t.Context()), browser.Options{
		Dial: dial, Folder: filepath.Join(c.Dir, "chromium-"+name), Env: []string{c.Mark()}, AnyCertificate: true,
	}))(c.t)
	c.t.Cleanup(func() {
		if err := in.browser.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return &in
}

// command goes in by `gvlan web`'s link, which lets one browser in and no other.
func (c *cluster) command() {
	command := must(c.h1.Start("web", nil, c.binary, "web"))(c.t)
	var link string
	c.eventually("gvlan web to print a link", func() error {
		said, err := os.ReadFile(command.Log)
		if link = regexp.MustCompile(`http://127\.0\.0\.1:8470/\?key=\S+`).FindString(string(said)); link == "" && err == nil {
			err = errors.New("it says " + string(said))
		}
		return err
	})
	in := c.from("command", c.h1.DialContext)
	in.home = "http://127.0.0.1:8470"
	stranger := must(in.browser.Open(browser.Look{}))(c.t)
	defer stranger.Close()
	in.nothing(stranger, in.home+"/")
	tab := in.tab(browser.Look{})
	in.open(tab, strings.TrimPrefix(link, in.home))
	in.shows(tab, `location.pathname === "/" && location.search === "" && document.getElementById("main").innerText.includes("lan1")`)
	in.nothing(stranger, link)
	in.follows(tab)
	if err := command.Signal(syscall.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	<-command.Done()
	if err := command.Err(); err != nil {
		c.t.Errorf("gvlan web ends with %v when it is interrupted", err)
	}
	in.shows(tab, `document.getElementById("live").textContent.includes("does not answer")`)
	tab.Faults() // that it does not answer
}

// lan goes in by the door of an agent, with a password; without one, nothing is
// served.
func (c *cluster) lan() {
	peer := &http.Client{Transport: &http.Transport{
		DialContext:     c.Peer.DialContext,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it is its own
	}, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/", lan1, "/hosts", "/search?q=web", "/live", "/v1/networks", "/v1/openapi.json", "/static/page.js", "/?key=guessed"} {
		r := must(http.NewRequestWithContext(c.t.Context(), http.MethodGet, "https://"+lanDoor+path, http.NoBody))(c.t)
		for _, with := range []string{"", "no-such-password"} {
			if with != "" {
				r.SetBasicAuth("anyone", with)
			}
			answer := must(peer.Do(r))(c.t)
			body := must(io.ReadAll(answer.Body))(c.t)
			answer.Body.Close()
			if answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusTooManyRequests ||
				strings.Contains(string(body), "lan1") {
				c.t.Errorf("without credentials %s is answered %d: %s", path, answer.StatusCode, body)
			}
		}
	}
	in := c.from("lan", c.Peer.DialContext)
	in.home = "https://" + lanDoor
	tab := in.tab(browser.Look{})
	if status := must(tab.Go("https://anyone:" + password + "@" + lanDoor + "/"))(c.t); status != http.StatusOK {
		c.t.Fatalf("with the password it is answered %d", status)
	}
	in.open(tab, "/")
	in.shows(tab, `document.getElementById("main").innerText.includes("lan1")`)
	in.follows(tab)
}

// nothing is what a browser without credentials sees.
func (c *cluster) nothing(tab *browser.Tab, url string) {
	c.t.Helper()
	status := must(tab.Go(url))(c.t)
	text := must(browser.Eval[string](tab, `document.documentElement.outerHTML`))(c.t)
	if status != http.StatusUnauthorized && status != http.StatusForbidden || strings.Contains(text, "lan1") {
		c.t.Errorf("who is not let in is answered %d: %s", status, text)
	}
}

// follows is that a page follows what changes.
func (c *cluster) follows(tab *browser.Tab) {
	c.t.Helper()
	c.open(tab, lan1)
	addr := c.run(c.h2, "lan1", "followed")
	defer c.h2.MustDocker(c.t, "rm", "-f", "followed")
	c.shows(tab, `document.getElementById(`+quoted(square(addr))+`).outerHTML.includes("followed")`)
}
