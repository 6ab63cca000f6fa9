package browser_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gvlan/tests/browser"
)

// changing is a page that follows what it is made of, as the agents' do.
type changing struct {
	followed chan struct{} // each time that somebody begins to

	mu     sync.Mutex
	main   string
	change chan struct{} // closed when it becomes another
}

// become has the page look again at what it is now.
func (p *changing) become(main string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.main = main
	close(p.change)
	p.change = make(chan struct{})
}

func (p *changing) now() (main string, change <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.main, p.change
}

func (p *changing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/page.js":
		http.ServeFile(w, r, "../../cmd/internal/web/static/page.js")
	case "/live":
		w.Header().Set("Content-Type", "text/event-stream")
		for first := true; ; first = false {
			_, change := p.now()
			_, _ = io.WriteString(w, "event: change\ndata:\n\n")
			_ = http.NewResponseController(w).Flush()
			if first {
				p.followed <- struct{}{}
			}
			select {
			case <-r.Context().Done():
				return
			case <-change:
			}
		}
	case "/":
		main, _ := p.now()
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>x</title><script src="/page.js" defer></script><main id="main">%s</main><span id="live"><time></time></span>`, main)
	}
}

// TestWhatAReaderHasStays: whatever comes, goes and moves around it, what has the
// focus keeps it, and what was opened or closed stays so.
func TestWhatAReaderHasStays(t *testing.T) {
	t.Parallel()
	page := &changing{followed: make(chan struct{}, 1), change: make(chan struct{})}
	site := httptest.NewServer(page)
	chromium := must(browser.Start(context.WithoutCancel(t.Context()), browser.Options{Folder: t.TempDir()}))(t)
	t.Cleanup(func() {
		if err := chromium.Close(); err != nil {
			t.Error(err)
		}
		site.Close()
	})
	row := func(ids ...string) (rows string) {
		for _, id := range ids {
			rows += "\n" + `<p id="` + id + `"><a href="#">` + id + `</a></p>`
		}
		return rows + "\n"
	}
	const closed, opened = `<details id="d"><summary>s</summary>x</details>`, `<details id="d" open=""><summary>s</summary>x</details>`
	c := &cluster{t: t, browser: chromium, home: site.URL}
	for name, test := range map[string]struct{ before, after, did, holds string }{
		"a row above":          {row("a", "b"), row("new", "a", "b"), "true", "true"},
		"rows between":         {row("b", "a"), row("b", "x", "y", "a", "z"), "true", "true"},
		"the first goes":       {row("b", "a", "c"), row("a", "c"), "true", "true"},
		"all others go":        {row("b", "c", "a", "d"), row("a"), "true", "true"},
		"it moves up":          {row("b", "c", "a"), row("a", "b", "c"), "true", "true"},
		"it moves down":        {row("a", "b", "c"), row("b", "c", "a"), "true", "true"},
		"a note above":         {`<div class="head">h</div>` + row("a"), `<p class="note">n</p><div class="head">h</div>` + row("a"), "true", "true"},
		"a section above":      {`<section class="card">` + row("a") + `</section>`, `<section class="problems">` + row("b") + `</section><section class="card">` + row("a") + `</section>`, "true", "true"},
		"two of one id":        {row("a", "x", "x"), row("x", "x", "a"), "true", "true"},
		"another text":         {row("a") + "one", "two" + row("a"), "true", "true"},
		"what a reader closed": {opened + row("a"), opened + row("b", "a"), `document.getElementById("d").open = false`, `!document.getElementById("d").open`},
		"what a reader opened": {row("a") + closed, row("b", "a") + closed, `document.getElementById("d").open = true`, `document.getElementById("d").open`},
	} {
		c.scene(name, func(c *cluster) {
			page.become(test.before)
			tab := c.tab(browser.Look{})
			c.open(tab, "/")
			<-page.followed
			must(browser.Eval[bool](tab, `(document.querySelector("#a a").focus(), window.had = document.activeElement, `+test.did+`, true)`))(c.t)
			page.become(test.after)
			const open = ` open=""`
			c.shows(tab, `document.getElementById("main").innerHTML.replaceAll(`+quoted(open)+`, "") === `+quoted(strings.ReplaceAll(test.after, open, "")))
			if !must(browser.Eval[bool](tab, `document.activeElement === window.had && window.had.isConnected && `+test.holds))(c.t) {
				c.t.Error("the reader has it no more")
			}
		})
	}
}
