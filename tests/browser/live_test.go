package browser_test

import (
	"net/url"

	"gvlan/tests/browser"
)

// live starts and stops a container while its subnet is looked at: its address
// changes on a page that stays the same one.
func (c *cluster) live() {
	tab := c.tab(browser.Look{})
	c.open(tab, "/subnet?"+url.Values{"network": {"lan1"}, "subnet": {"10.77.0.0/24"}}.Encode())
	must(browser.Eval[bool](tab, `window.__mark = true`))(c.t)
	addr := c.run(c.h2, "lan1", "passing")
	c.shows(tab, `document.getElementById(`+quoted(square(addr))+`).outerHTML.includes("passing")`)
	c.h2.MustDocker(c.t, "rm", "-f", "passing")
	c.shows(tab, `!document.getElementById(`+quoted(square(addr))+`).outerHTML.includes("passing")`)
	if !must(browser.Eval[bool](tab, `window.__mark === true`))(c.t) {
		c.t.Error("the page was loaded anew")
	}
}

// square is the id of an address's element on the page of its subnet.
func square(addr string) string { return "a-" + addr }
