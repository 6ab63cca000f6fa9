package browser_test

import (
	"slices"
	"strings"

	"github.com/chromedp/chromedp/kb"

	"gvlan/tests/browser"
)

// stop is where the keyboard is.
type stop struct {
	What    string // an element, in short
	ID      string
	Grid    bool // of addresses
	Visible bool // that it has the focus is seen
}

const focused = `(() => {
	const e = document.activeElement, style = getComputedStyle(e);
	return {
		What: e.nodeName.toLowerCase() + " " + (e.innerText || e.id || "").slice(0, 30), ID: e.id, Grid: /^a-/.test(e.id) || !!e.closest("[id^='a-']"),
		Visible: e.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 && e.getClientRects().length > 0,
	};
})()`

// keyboard goes over the page of a subnet without a mouse: the addresses are one
// stop, within which the arrows lead from one to the next.
func (c *cluster) keyboard() {
	tab := c.tab(browser.Look{})
	c.open(tab, lan1)
	var stops []stop
	within := 0
	for range 60 {
		c.press(tab, kb.Tab)
		at := must(browser.Eval[stop](tab, focused))(c.t)
		if strings.HasPrefix(at.What, "body ") { // over the end
			break
		}
		stops = append(stops, at)
		if !at.Visible {
			c.t.Errorf("who is at %q does not see it", at.What)
		}
		if !at.Grid {
			continue
		}
		if within++; within == 1 {
			c.arrows(tab, at)
		}
	}
	if within != 1 {
		c.t.Errorf("the addresses are %d stops of %+v", within, stops)
	}
	if !slices.ContainsFunc(stops, func(at stop) bool { return at.ID == "q" }) {
		c.t.Errorf("the search box is none of the stops %+v", stops)
	}
}

// arrows lead through the addresses.
func (c *cluster) arrows(tab *browser.Tab, from stop) {
	c.t.Helper()
	before := from.ID
	for _, key := range []struct{ name, key string }{{"right", kb.ArrowRight}, {"down", kb.ArrowDown}, {"left", kb.ArrowLeft}, {"up", kb.ArrowUp}, {"End", kb.End}, {"Home", kb.Home}} {
		c.press(tab, key.key)
		at := must(browser.Eval[stop](tab, focused))(c.t)
		if !at.Grid || !at.Visible || at.ID == before {
			c.t.Errorf("key %s leads from %s to %+v", key.name, before, at)
		}
		before = at.ID
	}
}

func (c *cluster) press(tab *browser.Tab, keys string) {
	c.t.Helper()
	if err := tab.Press(keys); err != nil {
		c.t.Fatal(err)
	}
}
