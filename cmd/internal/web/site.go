package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
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

// file is one of those.
type file struct {
	kind string // of content
	body []byte
}

// files are those that are embedded, by name.
func files() map[string]file {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	all := map[string]file{}
	names, err := fs.Glob(static, "static/*")
	for _, name := range names {
		body, reading := static.ReadFile(name)
		err = errors.Join(err, reading)
		all[path.Base(name)] = file{kinds[path.Ext(name)], body}
	}
	if err != nil { // a mistake of who built this
		panic(err)
	}
	return all
}

// view makes a page of what the agent answers; its errors have the status that
// api.StatusOf says.
type view func(v viewer, r *http.Request) (page, error)

// viewer is what a view makes its page with.
type viewer struct {
	agent  Agent
	status api.Status // of the agent; none while it is not known
	now    time.Time
}

// views are by their path. Each one's template is html/NAME.html.
func views() map[string]view {
	return map[string]view{
		"/":        networks,
		"/events":  happened,
		"/host":    host,
		"/hosts":   hosts,
		"/lease":   lease,
		"/names":   names,
		"/network": network,
		"/search":  search,
		"/subnet":  subnet,
	}
}

// longestQuery is what no link of the pages comes near, in bytes.
const longestQuery = 32 << 10

// server is a Site at work.
type server struct {
	*Site
	templates templates
	crowd     crowd
}

// paths are who serves what.
func (s *server) paths() map[string]http.HandlerFunc {
	paths := map[string]http.HandlerFunc{"/live": s.live}
	for path, v := range views() {
		paths[path] = func(w http.ResponseWriter, r *http.Request) { s.show(w, r, v) }
	}
	for name, file := range files() {
		paths["/static/"+name] = file.send
	}
	s.read(paths)
	return paths
}

// nowhere answers for every other path.
func (s *server) nowhere(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, func(viewer, *http.Request) (page, error) {
		return page{}, api.Missing(errors.New("there is no such page"))
	})
}

// Handler serves the pages at "/", what they are made of at "/v1/", and looks
// nowhere else.
func (s *Site) Handler() http.Handler {
	at := &server{Site: s, templates: parsed(), crowd: newCrowd()}
	paths := at.paths()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Forbid(w.Header())
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "nothing can be changed here", http.StatusMethodNotAllowed)
			return
		}
		if len(r.URL.RawQuery) > longestQuery {
			http.Error(w, fmt.Sprintf("the question is longer than %d bytes", longestQuery), http.StatusRequestURITooLong)
			return
		}
		serve, known := paths[r.URL.Path]
		if !known {
			serve = at.nowhere
		}
		patient := &patient{ResponseWriter: w, connection: http.NewResponseController(w)}
		defer patient.end()
		serve(patient, r)
	})
}

// Forbid has a browser do nothing for a page but show it, with what this site
// serves itself (Content Security Policy Level 3; Fetch's X-Content-Type-Options).
func Forbid(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// show sends a view, or in its place why there is none.
func (s *server) show(w http.ResponseWriter, r *http.Request, v view) {
	end, free := s.crowd.room()
	if !free {
		tooMany(w)
		return
	}
	defer end()
	body, status, err := s.made(r, v)
	if err != nil {
		s.Log.Error("a page cannot be made: its reader is told so", "path", r.URL.Path, "err", err)
		http.Error(w, "this page cannot be made", http.StatusInternalServerError)
		return
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", laterSeconds)
	}
	const kind = "text/html; charset=utf-8"
	if status == 0 {
		w.Header().Set("Gvlan-Now", s.Now().Format(time.TimeOnly)) // of a page that is as it was
		tagged(w, r, file{kind, body}, withoutClock(body))
		return
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever asked may be gone
}

// made is a page as HTML, or one that says why there is none, with a status of
// HTTP's; 0 is that of a page that can be.
func (s *server) made(r *http.Request, v view) (body []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), answering)
	defer cancel()
	r = r.WithContext(ctx)
	var p page
	end, err := s.crowd.turn(ctx)
	if err == nil {
		defer end()
	}
	agent, _ := ask[api.Status](ctx, s.Agent, api.StatusRoute) // the page shows what else there is
	if err == nil {
		p, err = v(viewer{agent: s.Agent, status: agent, now: s.Now()}, r)
	}
	if err != nil {
		p = page{Template: "failed", Title: "Not shown", Status: api.StatusOf(err), Data: err.Error()}
	}
	var made bytes.Buffer
	err = s.templates.write(&made, s.frame(r, p, agent), p)
	return made.Bytes(), p.Status, err
}

// withoutClock is a page without the time that it was made at.
func withoutClock(body []byte) []byte {
	before, rest, _ := bytes.Cut(body, []byte(`<span id="live"`)) // text of others has no markup
	_, after, _ := bytes.Cut(rest, []byte("</span>"))
	return slices.Concat(before, after)
}

// send sends a file.
func (f file) send(w http.ResponseWriter, r *http.Request) { tagged(w, r, f, f.body) }

// tagged sends what a reader may have already: the same is what says that it is.
func tagged(w http.ResponseWriter, r *http.Request, f file, same []byte) {
	sum := sha256.Sum256(same)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", tag)
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(f.body)))
	_, _ = w.Write(f.body) // whoever asked may be gone
}

// frame is what is around a page.
func (s *server) frame(r *http.Request, p page, status api.Status) frame {
	return frame{
		Host: s.Host, Version: s.Version, Title: p.Title, At: r.URL.Path, Sought: r.URL.Query().Get("q"), Now: s.Now(), Under: p.Under, JSON: p.JSON, Still: p.Still,
		Problems: status.Problems, Data: p.Data,
	}
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
