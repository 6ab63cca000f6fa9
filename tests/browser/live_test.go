package browser_test

import (
	"net/url"
	"strings"

	"gvlan/tests/browser"
)

// lan1 is the page of the subnet that scenes look at.
var lan1 = "/subnet?" + url.Values{"network": {"lan1"}, "subnet": {"10.77.0.0/24"}}.Encode()

// square is the id of an address's element on the page of its subnet.
func square(addr string) string { return "a-" + addr }

// live starts and stops a container while its subnet is looked at: its address
// changes on a page that stays the same one.
func (c *cluster) live() {
	tab := c.tab(browser.Look{})
	c.open(tab, lan1)
	must(browser.Eval[bool](tab, `window.__mark = true`))(c.t)
	addr := c.run(c.h2, "lan1", "passing")
	has := `document.getElementById(` + quoted(square(addr)) + `).outerHTML.includes("passing")`
	c.shows(tab, has)
	c.h2.MustDocker(c.t, "stop", "passing")
	c.shows(tab, `!document.getElementById(`+quoted(square(addr))+`).matches(".leased")`)
	c.h2.MustDocker(c.t, "rm", "passing")
	c.shows(tab, `!`+has)
	if !must(browser.Eval[bool](tab, `window.__mark === true`))(c.t) {
		c.t.Error("the page was loaded anew")
	}
}

// said is what a page says, but for what was said a moment ago in other words: times.
const said = `(() => {
	const main = document.getElementById("main").cloneNode(true);
	main.querySelectorAll("time, noscript").forEach(e => e.remove());
	return main.textContent.replace(/\s+/g, " ");
})()`

// scriptless compares what a reader without scripts sees with what others do, and
// waits for the page to look again by itself.
func (c *cluster) scriptless() {
	with, without := c.tab(browser.Look{}), c.tab(browser.Look{NoScript: true})
	for _, page := range []string{"/", lan1, "/hosts"} {
		c.open(with, page)
		c.open(without, page)
		one, other := must(browser.Eval[string](with, said))(c.t), must(browser.Eval[string](without, said))(c.t)
		if one != other || len(one) < 100 {
			c.t.Errorf("%s says with scripts\n%s\nand without\n%s", page, one, other)
		}
	}
	c.open(without, lan1)
	addr := c.run(c.h1, "lan1", "unnoticed")
	c.shows(without, `document.getElementById(`+quoted(square(addr))+`).outerHTML.includes("unnoticed")`)
	c.h1.MustDocker(c.t, "rm", "-f", "unnoticed")
}

// search types what people know of a container, and finds the rest.
func (c *cluster) search() {
	web := c.endpoint(c.h1, "lan1", "web")
	for _, s := range []struct{ key, finds string }{
		{web.IPAddress, "web"},
		{web.MacAddress, web.IPAddress},
		{strings.ToUpper(web.MacAddress), web.IPAddress},
		{"web", web.IPAddress},
		{"www", web.IPAddress}, // its name for others
		{"h3", "10.99.0.3"},
		{"lan1", "10.77.0.0/24"},
		{"10.77.0.21", "cameras"},
		{"nobody-at-all", "nobody-at-all"},
	} {
		c.scene(s.key, func(c *cluster) {
			tab := c.tab(browser.Look{})
			c.open(tab, "/")
			must(browser.Eval[bool](tab, `document.getElementById("q").focus() || true`))(c.t)
			if err := tab.Press(s.key + "\r"); err != nil {
				c.t.Fatal(err)
			}
			c.shows(tab, `location.pathname !== "/" && document.readyState === "complete" && document.getElementById("main").innerText.includes(`+quoted(s.finds)+`)`)
			c.view(tab)
		})
	}
}
