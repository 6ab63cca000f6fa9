package web

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"gvlan/cluster/store"

	"gvlan/cmd/internal/api"
)

// everywhere are paths of each kind of answer, with the status of each.
func everywhere() map[string]int {
	return map[string]int{
		"/events": http.StatusOK, "/names?limit=0": http.StatusBadRequest, "/names?from=nobody": http.StatusNotFound, "/nowhere": http.StatusNotFound,
		"/": http.StatusServiceUnavailable, "/names?from=broken": http.StatusInternalServerError, "/events?" + strings.Repeat("a", longestQuery+1): http.StatusRequestURITooLong,
		"/static/page.js": http.StatusOK, "/static/style.css": http.StatusOK, "/static/icon.svg": http.StatusOK, "/static/": http.StatusNotFound, "/static": http.StatusNotFound,
		"/v1/openapi.json": http.StatusOK, "/v1/nodes": http.StatusOK, "/v1/network?name=x": http.StatusNotFound, "/v1/token": http.StatusNotFound, "/v1/": http.StatusNotFound,
		"/../names": http.StatusNotFound, "/names/": http.StatusNotFound, "//evil.example/": http.StatusNotFound, "/static/../page.js": http.StatusNotFound,
	}
}

func someAnswers() answers {
	errNobody := errors.New("nobody")
	return answers{
		api.EventsRoute + "?limit=201": api.Events{}, api.NetworksRoute: store.ErrUnavailable, api.NodesRoute: []api.NodeView{},
		api.NamesRoute + "?from=nobody":  api.Missing(errNobody),
		api.NamesRoute + "?from=broken":  errNobody,
		api.Named(api.NetworkRoute, "x"): api.Missing(errNobody),
	}
}

// TestHeaders: whatever is asked, a browser is told to do nothing for it.
func TestHeaders(t *testing.T) {
	site := newSite(t, someAnswers())
	for path, status := range everywhere() {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			if method == http.MethodPost {
				status = http.StatusMethodNotAllowed
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, "/", http.NoBody)
			at, query, _ := strings.Cut(path, "?")
			r.URL.Path, r.URL.RawQuery = at, query
			site.ServeHTTP(w, r)
			if w.Code != status {
				t.Errorf("%s %.80s is answered %d, want %d: %s", method, path, w.Code, status, w.Body)
			}
			policy := map[string]string{}
			for directive := range strings.SplitSeq(w.Header().Get("Content-Security-Policy"), "; ") {
				name, value, _ := strings.Cut(directive, " ")
				policy[name] = value
			}
			for name, value := range map[string]string{"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "frame-ancestors": "'none'", "form-action": "'self'", "base-uri": "'none'"} {
				if policy[name] != value {
					t.Errorf("%s %.80s: policy of %s is %q, want %q", method, path, name, policy[name], value)
				}
			}
			for name, value := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
				if got := w.Header().Get(name); got != value {
					t.Errorf("%s %.80s: %s is %q, want %q", method, path, name, got, value)
				}
			}
			if w.Body.Len() > 0 && w.Header().Get("Content-Type") == "" {
				t.Errorf("%s %.80s: it is not said what the answer is", method, path)
			}
		}
	}
}

// TestWhatIsEmbedded is small, and asks for nothing of another host or within a page.
func TestWhatIsEmbedded(t *testing.T) {
	size, outside := 0, regexp.MustCompile(`(?i)\b(?:https?:)?//[a-z0-9]|<style|\sstyle=|\son[a-z]+=|javascript:|<script(?: src="/static/page.js" defer)?>[^<]|@import|url\(`)
	for _, files := range []fs.FS{html, static} {
		if err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			body, err := fs.ReadFile(files, name)
			if size += len(body); err != nil {
				return err
			}
			text := strings.ReplaceAll(string(body), `xmlns="http://www.w3.org/2000/svg"`, "")
			if found := outside.FindString(text); found != "" {
				t.Errorf("%s has %q", name, found)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if size >= 100<<10 {
		t.Errorf("%d bytes are embedded", size)
	}
	t.Logf("%d bytes are embedded", size)
}

// TestFilesAreSentOnce while they are the same.
func TestFilesAreSentOnce(t *testing.T) {
	site := newSite(t, someAnswers())
	for _, path := range []string{"/static/page.js", "/static/style.css", "/static/icon.svg", "/v1/openapi.json", "/events"} {
		first := get(t, site, path)
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		r.Header.Set("If-None-Match", first.Header().Get("ETag"))
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if first.Code != http.StatusOK || w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%s is answered %d, and again %d with %d bytes", path, first.Code, w.Code, w.Body.Len())
		}
	}
}
