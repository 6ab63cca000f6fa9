package browser_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"gvlan/tests/browser"
)

// wanted are the views that a reader gets to by links, from the first page on.
var wanted = []string{"/", "/network", "/subnet", "/lease", "/hosts", "/host", "/names", "/events"}

// each is how many pages of one view are looked at.
const each = 2

// views opens every view that there is a link to, as people with a wide and with
// a narrow screen see it, by day and by night. GVLAN_TEST_PICTURES=FOLDER keeps
// what they see.
func (c *cluster) views() {
	pages := c.linked()
	pages = append(pages, "/search?q=10.77.0.20", "/search?q=nobody-at-all")
	for _, look := range []browser.Look{{}, {Dark: true}, browser.Phone()} {
		c.scene(look.String(), func(c *cluster) {
			tab := c.tab(look)
			for _, page := range pages {
				c.scene(page, func(c *cluster) {
					c.open(tab, page)
					c.view(tab)
					keepPicture(c.t, tab)
				})
			}
		})
	}
}

// view is what holds on every page.
func (c *cluster) view(tab *browser.Tab) {
	c.t.Helper()
	c.narrow(tab)
	for _, fault := range must(tab.Axe())(c.t) {
		c.t.Error(fault)
	}
	c.calm(tab, "on it")
}

// narrow is that a page fits the width of the screen.
func (c *cluster) narrow(tab *browser.Tab) {
	c.t.Helper()
	if over := must(browser.Eval[int](tab, `document.scrollingElement.scrollWidth - innerWidth`))(c.t); over > 0 {
		wide := must(browser.Eval[string](tab, `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map(e => e.outerHTML.slice(0, 120)).join("\n")`))(c.t)
		c.t.Errorf("it scrolls sideways by %d px, for:\n%s", over, wide)
	}
}

// linked are the pages that links lead to, some of each view.
func (c *cluster) linked() []string {
	c.t.Helper()
	found, count, waiting := []string{}, map[string]int{}, []string{"/"}
	known := map[string]bool{"/": true}
	for len(waiting) > 0 {
		at := waiting[0]
		waiting = waiting[1:]
		path, _, _ := strings.Cut(at, "?")
		if count[path]++; count[path] > each {
			continue
		}
		found = append(found, at)
		for _, to := range c.links(at) {
			if !known[to] {
				known[to] = true
				waiting = append(waiting, to)
			}
		}
	}
	for _, path := range wanted {
		if count[path] == 0 {
			c.t.Errorf("no link leads to %s; those that do: %v", path, count)
		}
	}
	return found
}

// links are the pages that a page has links to.
func (c *cluster) links(page string) (paths []string) {
	c.t.Helper()
	root := must(html.Parse(strings.NewReader(c.get(page))))(c.t)
	base := must(url.Parse(c.home + page))(c.t)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "a" {
			continue
		}
		for _, a := range n.Attr {
			if a.Key != "href" {
				continue
			}
			to, err := base.Parse(a.Val)
			if err != nil || to.Host != base.Host {
				c.t.Errorf("%s has a link to %q", page, a.Val)
				continue
			}
			if to.Fragment = ""; !strings.HasPrefix(to.Path, "/v1/") {
				paths = append(paths, to.RequestURI())
			}
		}
	}
	return paths
}

// get is a page as it is sent.
func (c *cluster) get(page string) string {
	c.t.Helper()
	r := must(http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.home+page, http.NoBody))(c.t)
	answer := must(http.DefaultClient.Do(r))(c.t)
	defer answer.Body.Close()
	body := must(io.ReadAll(answer.Body))(c.t)
	if answer.StatusCode != http.StatusOK {
		c.t.Errorf("%s is answered %d", page, answer.StatusCode)
	}
	return string(body)
}

func keepPicture(t *testing.T, tab *browser.Tab) {
	t.Helper()
	folder := os.Getenv("GVLAN_TEST_PICTURES")
	if folder == "" {
		return
	}
	name := strings.NewReplacer("/", "_", " ", "").Replace(t.Name()) + ".png"
	if err := os.WriteFile(filepath.Join(folder, name), must(tab.Picture())(t), 0o644); err != nil {
		t.Error(err)
	}
}
