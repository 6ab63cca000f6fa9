package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	markup "golang.org/x/net/html"

	"gvlan/cmd/internal/api"
	"gvlan/driver/option"
	"gvlan/driver/visible"
	"gvlan/ipam/survey"
)

// filled answers every question with something in each field; its strings are what
// text says of a field.
type filled struct{ text func(at string) string }

func (f *filled) Answer(_ context.Context, route string) (any, error) {
	at, _, _ := strings.Cut(route, "?")
	for _, one := range routes() {
		if one.Path == at && !one.Lines {
			value := reflect.New(reflect.TypeOf(one.Answer)).Elem()
			fillIn(value, func(field string) string { return f.text(at + " " + field) }, "")
			answer := value.Interface()
			if found, is := answer.(api.WhoisAnswer); is {
				answer = ofEachKind(found)
			}
			return answer, nil
		}
	}
	return nil, errors.New("nothing answers " + route)
}

func (f *filled) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	value, _ := f.Answer(r.Context(), r.URL.RequestURI())
	_ = json.NewEncoder(w).Encode(value)
}

// ofEachKind is what a search can find, whatever the kind of the one that is there.
func ofEachKind(found api.WhoisAnswer) api.WhoisAnswer {
	one := found.Found[0]
	for _, kind := range []string{api.FoundAddress, api.FoundMAC, api.FoundContainer, api.FoundReserved, api.FoundHost, api.FoundNetwork} {
		one.Kind = kind
		found.Found = append(found.Found, one)
	}
	return found
}

// fields are the strings of every answer, as filled calls them.
func fields() (all []string) {
	for _, one := range routes() {
		value := reflect.New(reflect.TypeOf(one.Answer)).Elem()
		fillIn(value, func(field string) string {
			all = append(all, one.Path+" "+field)
			return ""
		}, "")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// looking is every view, with what it may ask.
func looking(name string) (paths []string) {
	query := url.Values{
		"name": {name}, "network": {name}, "node": {name}, "q": {name}, "of": {name}, "from": {name},
		"subnet": {"10.0.0.0/24"}, "address": {"10.0.0.3"},
	}.Encode()
	for path := range views() {
		paths = append(paths, path+"?"+query)
	}
	slices.Sort(paths)
	return paths
}

// seen is a page as a browser reads it.
type seen struct {
	status int
	shape  string // elements and attributes, without what is in them
	text   string // that is shown
	raw    string
	links  []string
}

// reader reads pages of one site, whichever its agent is.
type reader struct {
	agent   *filled
	handler http.Handler
}

func newReader() reader {
	agent := &filled{}
	site := &Site{Agent: agent, Host: "h1", Version: "test", Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler)}
	return reader{agent, site.Handler()}
}

func (r reader) see(t *testing.T, text func(at string) string, path string) (s seen) {
	t.Helper()
	r.agent.text = text
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return seenIn(t, w)
}

// seenIn is the page that was answered.
func seenIn(t *testing.T, w *httptest.ResponseRecorder) (s seen) {
	t.Helper()
	s.status, s.raw = w.Code, w.Body.String()
	root, err := markup.Parse(strings.NewReader(s.raw))
	if err != nil {
		t.Fatal(err)
	}
	var shape, text strings.Builder
	for n := range root.Descendants() {
		switch n.Type {
		case markup.TextNode:
			text.WriteString(n.Data)
		case markup.CommentNode:
			shape.WriteString("<!>")
		case markup.ElementNode:
			shape.WriteString("<" + n.Data)
			for _, a := range n.Attr {
				shape.WriteString(" " + a.Key)
				switch a.Key {
				case "href", "src", "action":
					s.links = append(s.links, a.Val)
				case "aria-label", "title", "value":
					text.WriteString("\n" + a.Val + "\n")
				}
			}
			shape.WriteString(">")
		}
	}
	s.shape, s.text = shape.String(), text.String()
	return s
}

// evil are texts that somebody may call a container, a network or a host.
func evil() map[string]string {
	return map[string]string{
		"markup":     `zq<img src=x onerror=alert(1)></td></title></script><!-- <script>alert(1)</script>`,
		"quotes":     `zq" onclick="alert(1)' onfocus='alert(2)` + "`" + ` autofocus x=`,
		"entities":   `zq&lt;b&gt;&#60;b&#62;&quot;`,
		"control":    "zq\x1b[31mred\x07\r\x7f\u0085\u009b2Jq",
		"nothing":    "zq\x00q",
		"directions": "zq\u202egnp\u2066x\u2069\u200f\u061c",
		"unseen":     "zq\u200b\u00ad\ufeff\u2028\u2029\U000e0041q",
		"broken":     "zq\xff\xc3(q",
		"scheme":     "javascript:zq(1)",
		"host":       "//zq.example/q",
		"template":   "zq{{.Host}}",
		"long":       "zq" + strings.Repeat("n", 253),
		"wide":       "zq" + strings.Repeat("中", 253),
	}
}

// gathered are the same in fewer texts, where very many pages are made: those that
// have to begin a text to do harm, and all others in one.
func gathered() map[string]string {
	all := evil()
	few := map[string]string{"scheme": all["scheme"], "host": all["host"], "long": all["long"] + all["wide"]}
	var others []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if few[name] == "" && name != "wide" {
			others = append(others, all[name])
		}
	}
	few["others"] = strings.Join(others, " ")
	return few
}

// shown is a text as a page has it.
func shown(text string) string {
	return visible.Text(strings.ReplaceAll(text, "\x00", "\ufffd")) // as HTML has it (13.2.5.1)
}

// harmless reports what a page has that no page may have.
func harmless(s seen) error {
	for _, r := range s.raw {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return fmt.Errorf("it has the character %U", r)
		}
	}
	for _, link := range s.links {
		if !strings.HasPrefix(link, "/") && !strings.HasPrefix(link, "#") || strings.HasPrefix(link, "//") {
			return fmt.Errorf("it leads to %q", link)
		}
	}
	return nil
}

// TestNoTextIsMarkup: whatever one of the fields of an answer holds, every page is
// made as if it held a word, and where it would show the word it shows the text.
func TestNoTextIsMarkup(t *testing.T) {
	const word = "zqword"
	r, all, visibly := newReader(), fields(), 0
	for _, path := range looking("x") {
		asked := map[string]bool{} // routes
		if s := r.see(t, func(at string) string { asked[routeOf(at)] = true; return base(at) }, path); s.status != http.StatusOK {
			t.Errorf("%s is answered %d", path, s.status)
		}
		for _, field := range all {
			if !asked[routeOf(field)] {
				continue
			}
			with := func(text string) func(string) string {
				return func(at string) string {
					if at == field {
						return text
					}
					return base(at)
				}
			}
			plain := r.see(t, with(word), path)
			if !strings.Contains(plain.raw, word) {
				continue // this view does not show it
			}
			visibly++
			for name, text := range gathered() {
				if address(field) {
					text = strings.ReplaceAll(text, "/", "|") // what follows one is shown nowhere
				}
				got := r.see(t, with(text), path)
				if err := harmless(got); err != nil || got.shape != plain.shape || got.status != plain.status {
					t.Errorf("%.40s with %s in %s: %v, or other elements:\n%s\n%s", path, name, field, err, got.shape, plain.shape)
				}
				if strings.HasSuffix(field, "ContainerID ") || strings.HasSuffix(field, "Endpoint ") {
					text = visible.ID(text)
				}
				if strings.Contains(plain.text, word) && !strings.Contains(got.text, shown(text)) {
					t.Errorf("%.40s with %s in %s does not show %q", path, name, field, shown(text))
				}
			}
		}
	}
	if visibly < 150 {
		t.Errorf("only %d of the %d fields of answers are on pages", visibly, len(all))
	}
	t.Logf("%d times a field is on a page, of %d fields", visibly, len(all))
}

func routeOf(field string) string {
	route, _, _ := strings.Cut(field, " ")
	return route
}

// TestNoQuestionIsMarkup: the same of what somebody types, where everything is called
// so.
func TestNoQuestionIsMarkup(t *testing.T) {
	r := newReader()
	every := func(text string) func(string) string {
		return func(at string) string {
			if word := base(at); word != "x" {
				return word
			}
			return text
		}
	}
	for name, text := range evil() {
		for i, path := range looking(text) {
			plain, got := r.see(t, every("zqword"), looking("zqword")[i]), r.see(t, every(text), path)
			if err := harmless(got); err != nil || got.shape != plain.shape || got.status != plain.status {
				t.Errorf("%.40s of %s is answered %d: %v, or other elements:\n%s\n%s", path, name, got.status, err, got.shape, plain.shape)
			}
			if !strings.Contains(got.text, shown(text)) {
				t.Errorf("%.40s does not show %q", path, shown(text))
			}
		}
	}
}

// base is a word for a field that is not looked at: one that has a meaning where the
// field is for such.
func base(at string) string {
	switch {
	case address(at):
		return "10.0.0.3/24"
	case strings.HasSuffix(at, "Entry.State "):
		return string(survey.Leased)
	case strings.HasSuffix(at, "NetworkView.Scope "):
		return string(option.ScopeLocal)
	case strings.HasSuffix(at, "NodeView.State "):
		return "ready"
	}
	return "x"
}

// address reports whether a field is an address with the bits of its subnet.
func address(at string) bool {
	for _, field := range []string{"IPv4", "IPv6", "Fixed", "Waits"} {
		if strings.HasSuffix(at, "EndpointView."+field+" ") {
			return true
		}
	}
	return false
}
