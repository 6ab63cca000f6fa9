package tests

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// What a stranger reads in five minutes.
const readmeLines = 200

func TestReadmeIsShort(t *testing.T) {
	if n := bytes.Count(readFile(t, "README.md"), []byte("\n")); n > readmeLines {
		t.Errorf("README.md has %d lines, want at most %d: what is more belongs beside what it describes", n, readmeLines)
	}
}

// document is a page, as GitHub reads it.
type document struct {
	path    string // below root
	source  []byte
	links   []string        // as they are written, of links and pictures
	anchors map[string]bool // of its headings
	code    []string        // lines of blocks, and spans
}

// documents are all pages of the repository, by path.
func documents(t *testing.T) map[string]*document {
	t.Helper()
	all := map[string]*document{}
	for _, path := range repoFiles(t, ".md") {
		all[path] = newDocument(path, readFile(t, path))
	}
	return all
}

func newDocument(path string, source []byte) *document {
	d := &document{path: path, source: source, anchors: map[string]bool{}}
	parser := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()
	_ = ast.Walk(parser.Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			d.take(n)
		}
		return ast.WalkContinue, nil
	})
	return d
}

func (d *document) take(n ast.Node) {
	switch n := n.(type) {
	case *ast.Link:
		d.links = append(d.links, string(n.Destination))
	case *ast.Image:
		d.links = append(d.links, string(n.Destination))
	case *ast.Heading:
		d.addAnchor(d.words(n))
	case *ast.CodeSpan:
		d.code = append(d.code, d.words(n))
	case *ast.CodeBlock, *ast.FencedCodeBlock:
		for _, line := range n.Lines().Sliced(0, n.Lines().Len()) {
			d.code = append(d.code, string(line.Value(d.source)))
		}
	}
}

// words is the text below a node, without its markup.
func (d *document) words(n ast.Node) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if leaf, is := c.(*ast.Text); is {
			b.Write(leaf.Value(d.source))
		} else {
			b.WriteString(d.words(c))
		}
	}
	return b.String()
}

// addAnchor adds what GitHub calls a heading: its letters and digits in small,
// blanks as hyphens, and a number where another heading has that name.
func (d *document) addAnchor(heading string) {
	base := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
	anchor := base
	for i := 1; d.anchors[anchor]; i++ {
		anchor = fmt.Sprintf("%s-%d", base, i)
	}
	d.anchors[anchor] = true
}

// TestLinksLead: what a page of the repository links within it is there, heading
// included. Nobody asks the web: a test has to pass without it.
func TestLinksLead(t *testing.T) {
	all := documents(t)
	links := 0
	for _, d := range all {
		for _, link := range d.links {
			to, err := url.Parse(link)
			if err != nil {
				t.Errorf("%s: the link %q is none: %v", d.path, link, err)
			} else if !to.IsAbs() {
				links++
				if why := notLed(all, d, to); why != "" {
					t.Errorf("%s: the link %s leads nowhere: %s", d.path, link, why)
				}
			}
		}
	}
	if links < 100 {
		t.Errorf("%d links were found, want at least 100", links)
	}
}

// notLed is why a link of a page leads nowhere, "" where it leads somewhere.
func notLed(all map[string]*document, from *document, to *url.URL) string {
	path := from.path
	if to.Path != "" {
		path = filepath.Join(filepath.Dir(from.path), filepath.FromSlash(to.Path))
	}
	if !filepath.IsLocal(path) {
		return "it is outside of the repository"
	}
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		return "there is no " + path
	}
	if to.Fragment == "" {
		return ""
	}
	if d := all[path]; d == nil || !d.anchors[to.Fragment] {
		return path + " has no such heading"
	}
	return ""
}

var (
	// makeLine is a call of make, with what is set for it before and after.
	makeLine = regexp.MustCompile(`^(?:\$ )?(?:[A-Z_]+=\S+ )*make((?: [\w.-]+(?:="[^"]*"|=\S+)?)+)`)
	target   = regexp.MustCompile(`(?m)^([\w.-]+(?: [\w.-]+)*):`)
)

// TestTargetsAreThere: make knows what the pages have it make.
func TestTargetsAreThere(t *testing.T) {
	var known []string
	for _, m := range target.FindAllStringSubmatch(string(readFile(t, "Makefile")), -1) {
		known = append(known, strings.Fields(m[1])...)
	}
	calls := 0
	for _, d := range documents(t) {
		for _, code := range d.code {
			m := makeLine.FindStringSubmatch(code)
			if m == nil {
				continue
			}
			calls++
			for word := range strings.FieldsSeq(inQuotes.ReplaceAllString(m[1], "")) {
				if !strings.Contains(word, "=") && !slices.Contains(known, word) {
					t.Errorf("%s: %s: there is no target %s", d.path, strings.TrimSpace(code), word)
				}
			}
		}
	}
	if calls < 20 {
		t.Errorf("%d calls of make were found, want at least 20", calls)
	}
}

var (
	inQuotes    = regexp.MustCompile(`"[^"]*"`)
	environment = regexp.MustCompile(`\bGVLAN_[A-Z0-9_]*[A-Z0-9]\b`)
)

// TestEnvironmentIsThere: a variable that a page names is read by something.
func TestEnvironmentIsThere(t *testing.T) {
	known := map[string]bool{}
	for _, ending := range []string{".go", ".sh", "config.json", ".toml"} {
		for _, path := range repoFiles(t, ending) {
			for _, name := range environment.FindAll(readFile(t, path), -1) {
				known[string(name)] = true
			}
		}
	}
	for line := range strings.Lines(string(readFile(t, filepath.Join("cmd", "gvlan", "README.md")))) {
		if strings.HasPrefix(line, "| `--") { // a setting; that the table is true is another test's
			known[environment.FindString(line)] = true
		}
	}
	for _, d := range documents(t) {
		for _, name := range environment.FindAll(d.source, -1) {
			if !known[string(name)] {
				t.Errorf("%s names %s, which nothing reads", d.path, name)
			}
		}
	}
}
