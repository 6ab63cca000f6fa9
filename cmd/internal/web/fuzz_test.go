package web

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// FuzzPages: whatever somebody types, there is a page or a plain refusal.
func FuzzPages(f *testing.F) {
	for path := range everywhere() {
		at, query, _ := strings.Cut(path, "?")
		f.Add(at, query)
	}
	for _, path := range looking("<b>'\"\u202e\x00") {
		at, query, _ := strings.Cut(path, "?")
		f.Add(at, query)
	}
	for _, path := range []string{"", "*", "/events/", "/%2e%2e/", "/v1/events/follow", "/v1/leases", "/\xff", "/static/page.js/"} {
		f.Add(path, "limit=1&kind=given&kind=x&since=1h&from=&text=%zz&;=;&at=10.0.0.0/25&subnet=::/0&address=fe80::1%25eth0")
	}
	r := newReader()
	r.agent.text = base
	f.Fuzz(func(t *testing.T, path, query string) {
		request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		if request.URL.Path, request.URL.RawQuery = path, query; path == "/live" {
			request.Method = http.MethodHead // it ends
		}
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, request)
		if !slices.Contains([]int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusRequestURITooLong}, w.Code) {
			t.Errorf("%q with %q is answered %d: %s", path, query, w.Code, w.Body)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			if err := harmless(seenIn(t, w)); err != nil {
				t.Errorf("%q with %q: %v", path, query, err)
			}
		}
	})
}
