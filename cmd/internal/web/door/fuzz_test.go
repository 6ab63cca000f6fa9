package door

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzDoor: whatever a request has, it is shown the site only with what lets in, and
// is answered in a way there is.
func FuzzDoor(f *testing.F) {
	f.Add("GET", "/?key=x", "localhost", "Basic "+"Om9wZW4gc2VzYW1l", "__Host-gvlan-00=x", "anna", "127.0.0.2:1")
	f.Add("GET", "//evil/?key=%00;&key", "[::1%lo]:1", "basic :", "a=b;;=", "\r\n", "[::ffff:127.0.0.2]:1")
	f.Add("POST", "*", "127.0.0.1.evil", "Basic ====", "", " ", "@")
	f.Fuzz(func(t *testing.T, method, path, host, authorization, cookie, header, from string) {
		for _, listen := range []string{"127.0.0.1:1", "0.0.0.0:1"} {
			c := Config{
				Listen: listen, Password: password, ProxyHeader: "X-Remote-User", ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
				Certificate: &Certificate{}, Command: "gvlan web", Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
			}
			shown := false
			c.Site = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { shown = true })
			d, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			at, err := url.ParseRequestURI(path)
			if err != nil {
				return
			}
			r := &http.Request{Method: method, URL: at, Host: host, RemoteAddr: from, Proto: "HTTP/1.1", Body: http.NoBody, Header: http.Header{
				"Authorization": {authorization}, "Cookie": {cookie}, "X-Remote-User": {header},
			}}
			_, given, _ := r.BasicAuth()
			w := httptest.NewRecorder()
			d.ServeHTTP(w, r.WithContext(t.Context()))
			source, _ := netip.ParseAddrPort(from)
			may := given == password || strings.TrimSpace(header) != "" && source.Addr().Unmap() == netip.MustParseAddr("127.0.0.2")
			if shown && (!may || d.loopback && !strings.Contains(host, "127.") && !strings.EqualFold(host[:min(len(host), 9)], "localhost") && !strings.Contains(host, ":")) {
				t.Errorf("shown to %v", r)
			}
			if !slices.Contains([]int{200, 303, 401, 421, 429}, w.Code) || w.Code == http.StatusSeeOther && !may {
				t.Errorf("%v is answered with %d", r, w.Code)
			}
			if to := w.Header().Get("Location"); to != "" && to != "/" && !strings.HasPrefix(to, "/?") {
				t.Errorf("%v leads to %q", r, to)
			}
		}
	})
}
