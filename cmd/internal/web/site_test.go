package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gvlan/cmd/internal/api"
)

// answers are an agent's, by route: a value, or an error.
type answers map[string]any

func (a answers) Answer(_ context.Context, route string) (any, error) {
	value, known := a[route]
	if err, failed := value.(error); failed {
		return nil, err
	}
	if !known {
		return nil, errors.New("nothing answers " + route)
	}
	return value, nil
}

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	value, err := a.Answer(r.Context(), r.URL.RequestURI())
	if err != nil {
		w.WriteHeader(api.StatusOf(err))
		value = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(value)
}

// noon is when pages of tests are made.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func newSite(t testing.TB, a answers) http.Handler {
	t.Helper()
	site := &Site{Agent: a, Bell: NewBell(), Host: "h1", Version: "test", Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler)}
	return site.Handler()
}

// get is what a page is answered with.
func get(t testing.TB, site http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w
}

func TestNothingCanBeChanged(t *testing.T) {
	site := newSite(t, answers{})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, "FOO"} {
		for _, path := range []string{"/", "/v1/networks", "/v1/node/evict", "/nowhere"} {
			w := httptest.NewRecorder()
			site.ServeHTTP(w, httptest.NewRequest(method, path, http.NoBody))
			if w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s is answered %d", method, path, w.Code)
			}
		}
	}
}

func TestSecretsAreNotRead(t *testing.T) {
	site := newSite(t, answers{api.TokenRoute: "secret", api.SettingsRoute: "secret"})
	for _, path := range []string{api.TokenRoute, api.SettingsRoute, api.BackupRoute} {
		if w := get(t, site, path); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s is answered %d: %s", path, w.Code, w.Body)
		}
	}
}

// TestAPageThatIsAsItWas is not sent again, although time goes by.
func TestAPageThatIsAsItWas(t *testing.T) {
	now := noon
	agent := answers{api.NetworksRoute: []api.NetworkView{}, api.PoolsRoute: []api.PoolView{}}
	site := (&Site{Agent: agent, Host: "h1", Version: "test", Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}).Handler()
	first := get(t, site, "/")
	now = now.Add(time.Second)
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Header.Set("If-None-Match", first.Header().Get("ETag"))
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	if first.Code != http.StatusOK || w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("Gvlan-Now") != "12:00:01" {
		t.Errorf("it is answered %d, and again %d at %s with %d bytes", first.Code, w.Code, w.Header().Get("Gvlan-Now"), w.Body.Len())
	}
}
