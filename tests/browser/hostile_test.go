package browser_test

import (
	"strings"

	"gvlan/tests/browser"
)

// What somebody may call their things.
const (
	markup  = `<img src=x onerror="document.title='taken'"><script>document.title="taken"</script>`
	quotes  = `" onmouseover="document.title='taken'" x='`
	hidden  = "\u202egnp.\u200bnorm" // turns the direction of what follows
	control = "bell\aescape\x1b[31mred"
)

// hostile has people call their things what pages have been taken over with: it is
// text on every page, and whole.
func (c *cluster) hostile() {
	long := strings.Repeat("n", 200)
	c.run(c.h1, "lan1", "h-"+long, "--network-alias", "x."+strings.Repeat(strings.Repeat("d", 61)+".", 3)+"example")
	for i, evil := range []string{markup, quotes, hidden, control} {
		name := "hostile" + string(rune('0'+i))
		c.run(c.h2, "lan1", name, "--network-alias", evil, "--label", "com.docker.compose.project="+evil, "--label", "com.docker.compose.service="+evil)
		defer c.h2.MustDocker(c.t, "rm", "-f", name)
	}
	defer c.h1.MustDocker(c.t, "rm", "-f", "h-"+long)
	c.h1.MustExec(c.t, c.binary, "reserve", "lan1", "10.77.0.30", "--note", markup)
	c.h1.MustExec(c.t, c.binary, "reserve", "lan1", "10.77.0.31", "--for", "h-"+long, "--note", quotes)
	defer c.h1.MustExec(c.t, c.binary, "unreserve", "lan1", "10.77.0.30-10.77.0.31")
	for _, look := range []browser.Look{{}, browser.Phone()} {
		tab := c.tab(look)
		for _, page := range append(c.linked(), "/search?q=10.77.0.30", "/search?q=h-"+long, "/search?q=%3Cimg+src%3Dx%3E%22+onmouseover%3D%22x") {
			c.scene(look.String()+" "+page, func(c *cluster) {
				c.open(tab, page)
				c.narrow(tab)
				if is := must(browser.Eval[bool](tab, `document.title === "taken" || !!document.querySelector("main img, main script, [onmouseover], [onerror]")`))(c.t); is {
					c.t.Error("what somebody called a thing is markup on it")
				}
				if is := must(browser.Eval[bool](tab, `/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u200b\u202a-\u202e\u2066-\u2069]/.test(document.documentElement.outerHTML)`))(c.t); is {
					c.t.Error("it has characters that are no text")
				}
			})
		}
		c.open(tab, "/search?q=10.77.0.30")
		c.shows(tab, `document.getElementById("main").textContent.includes(`+quoted(markup)+`)`)
		c.open(tab, lan1)
		c.shows(tab, `document.getElementById("main").textContent.includes(`+quoted(long)+`) || document.getElementById("main").innerHTML.includes(`+quoted(long)+`)`)
	}
}
