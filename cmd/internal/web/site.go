package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"gvlan/cmd/internal/api"
)

// Agent answers questions by their route, as the status socket does.
type Agent interface {
	// Answer is the value that the route is answered with.
	Answer(ctx context.Context, route string) (any, error)
	http.Handler // the same as JSON
}

// Site serves the pages. A nil Bell is never heard.
type Site struct {
	Agent   Agent
	Bell    *Bell
	Host    string // what people call the host that serves it
	Version string // of its agent
	Now     func() time.Time
	Log     *slog.Logger
}

//go:embed static
var static embed.FS

// view makes a page of what the agent answers; its errors have the status that
// api.StatusOf says.
type view func(v viewer, r *http.Request) (page, error)

// viewer is what a view makes its page with.
type viewer struct {
	agent Agent
	now   time.Time
}

// views are by their path. Each one's template is html/NAME.html.
func views() map[string]view {
	return map[string]view{
		"/":       networks,
		"/events": happened,
		"/names":  names,
		"/subnet": subnet,
	}
}

// limits of a request.
const (
	longestQuery = 4 << 10 // bytes
	answering    = 15 * time.Second
)

// ErrLongQuery refuses what no link of the pages asks.
var ErrLongQuery = fmt.Errorf("the question is longer than %d bytes", longestQuery)

// Handler serves the pages at "/", what they are made of at "/v1/", and looks
// nowhere else.
func (s *Site) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.Handle("GET /live", http.HandlerFunc(s.live))
	mux.Handle("GET /v1/", http.HandlerFunc(s.reading))
	templates := parsed()
	for path, v := range views() {
		if path == "/" {
			path = "/{$}"
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { s.show(w, r, templates, v) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.show(w, r, templates, func(viewer, *http.Request) (page, error) {
			return page{}, api.Missing(errors.New("there is no such page"))
		})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forbid(w.Header())
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "nothing can be changed here", http.StatusMethodNotAllowed)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// forbid has a browser do nothing for a page but show it, with what this site
// serves itself (Content Security Policy Level 3; Fetch's X-Content-Type-Options).
func forbid(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// show sends a view, or in its place why there is none.
func (s *Site) show(w http.ResponseWriter, r *http.Request, templates templates, v view) {
	ctx, cancel := context.WithTimeout(r.Context(), answering)
	defer cancel()
	r = r.WithContext(ctx)
	p, err := s.made(r, v)
	if err != nil {
		p = page{Template: "failed", Title: "Not shown", Status: api.StatusOf(err), Data: err.Error()}
	}
	var body bytes.Buffer
	if err := templates.write(&body, s.frame(r, p), p); err != nil {
		s.Log.Error("a page cannot be made: its reader is told so", "path", r.URL.Path, "err", err)
		http.Error(w, "this page cannot be made", http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(body.Bytes())
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if p.Status == 0 && strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if p.Status != 0 {
		w.WriteHeader(p.Status)
	}
	_, _ = w.Write(body.Bytes()) // whoever asked may be gone
}

func (s *Site) made(r *http.Request, v view) (page, error) {
	if len(r.URL.RawQuery) > longestQuery {
		return page{}, api.Refuse(ErrLongQuery)
	}
	return v(viewer{agent: s.Agent, now: s.Now()}, r)
}

// frame is what is around a page. Its problems are none while nothing is known of
// them.
func (s *Site) frame(r *http.Request, p page) frame {
	f := frame{Host: s.Host, Version: s.Version, Title: p.Title, At: r.URL.Path, Sought: r.URL.Query().Get("q"), Now: s.Now(), JSON: p.JSON, Data: p.Data}
	if status, err := ask[api.Status](r.Context(), s.Agent, api.StatusRoute); err == nil {
		f.Problems = status.Problems
	}
	return f
}

// ask is an answer of the agent, of the type that its route has.
func ask[T any](ctx context.Context, agent Agent, route string) (answer T, err error) {
	value, err := agent.Answer(ctx, route)
	if err != nil {
		return answer, err
	}
	answer, ok := value.(T)
	if !ok {
		return answer, fmt.Errorf("the agent answers %s with a %T, and not a %T", route, value, answer)
	}
	return answer, nil
}
