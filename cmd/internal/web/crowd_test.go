package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gvlan/cmd/internal/api"
)

// waiting is an agent that answers nobody before it is let, but for what is beside a page.
type waiting struct {
	answers
	asked chan struct{}
	let   chan struct{}
}

func (b waiting) Answer(ctx context.Context, route string) (any, error) {
	if route == api.StatusRoute || route == api.Known(api.NetworksRoute) {
		return b.answers.Answer(ctx, route)
	}
	b.asked <- struct{}{}
	<-b.let
	return b.answers.Answer(ctx, route)
}

func (b waiting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = b.Answer(r.Context(), r.URL.RequestURI())
	b.answers.ServeHTTP(w, r)
}

// TestSoManyPagesAtOnce: however many ask, the agent makes a few at a time, and who
// waits too long is told to come again.
func TestSoManyPagesAtOnce(t *testing.T) {
	agent := waiting{answers{api.EventsRoute + "?limit=201": api.Events{}, api.NodesRoute: []api.NodeView{}}, make(chan struct{}), make(chan struct{})}
	site := (&Site{Agent: agent, Now: func() time.Time { return noon }}).Handler()
	answered := make(chan int)
	for i := range makingAtOnce {
		path := "/events"
		if i%2 > 0 {
			path = api.NodesRoute
		}
		go func() {
			w := httptest.NewRecorder()
			site.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
			answered <- w.Code
		}()
		<-agent.asked
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, path := range []string{"/events", api.NodesRoute} {
		w := httptest.NewRecorder()
		site.ServeHTTP(w, httptest.NewRequestWithContext(late, http.MethodGet, path, http.NoBody))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "10" {
			t.Errorf("%s is answered %d, to be tried again after %q", path, w.Code, w.Header().Get("Retry-After"))
		}
	}
	close(agent.let)
	for range makingAtOnce {
		if code := <-answered; code != http.StatusOK {
			t.Errorf("who waited for nobody is answered %d", code)
		}
	}
}

// TestSoManyPagesThatAreOpen: one more looks by the clock, and finds room when
// another goes.
func TestSoManyPagesThatAreOpen(t *testing.T) {
	site := httptest.NewServer(newSite(t, answers{}))
	defer site.Close()
	open := func() (*http.Response, func()) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, site.URL+"/live", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := site.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return answer, func() { cancel(); answer.Body.Close() }
	}
	var close func()
	for i := range streamsAtOnce {
		answer, end := open()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("page %d is answered %d", i, answer.StatusCode)
		}
		if close == nil {
			close = end
		} else {
			defer end()
		}
	}
	answer, end := open()
	end()
	if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "10" {
		t.Errorf("one more is answered %d, to be tried again after %q", answer.StatusCode, answer.Header.Get("Retry-After"))
	}
	close()
	for { // until the server hears of it
		answer, end := open()
		end()
		if answer.StatusCode == http.StatusOK {
			break
		}
	}
}

// stuck is a reader that takes nothing before it is let.
type stuck struct {
	*httptest.ResponseRecorder
	begun, let chan struct{}
}

func (s stuck) Write(body []byte) (int, error) {
	s.begun <- struct{}{}
	<-s.let
	return s.ResponseRecorder.Write(body)
}

// TestSoManyThatAreNotRead: what readers do not take is in memory for so many of them
// and no more.
func TestSoManyThatAreNotRead(t *testing.T) {
	site := newSite(t, answers{api.EventsRoute + "?limit=201": api.Events{}, api.NodesRoute: []api.NodeView{}})
	begun, let, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	paths := []string{"/events", api.NodesRoute}
	for i := range unreadAtOnce {
		go func() {
			site.ServeHTTP(stuck{httptest.NewRecorder(), begun, let}, httptest.NewRequest(http.MethodGet, paths[i%2], http.NoBody))
			done <- struct{}{}
		}()
		<-begun
	}
	for _, path := range paths {
		if w := get(t, site, path); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "10" {
			t.Errorf("one more is answered %d, to be tried again after %q", w.Code, w.Header().Get("Retry-After"))
		}
	}
	close(let)
	for range unreadAtOnce {
		<-done
	}
	for _, path := range paths {
		if w := get(t, site, path); w.Code != http.StatusOK {
			t.Errorf("when all is read, %s is answered %d", path, w.Code)
		}
	}
}

// TestHeadsOfWhatGoesOn end.
func TestHeadsOfWhatGoesOn(t *testing.T) {
	site := newSite(t, answers{})
	for path, kind := range map[string]string{"/live": "text/event-stream", api.EventsFollowRoute: "application/x-ndjson", api.LeasesRoute: "application/x-ndjson"} {
		w := httptest.NewRecorder()
		site.ServeHTTP(w, httptest.NewRequest(http.MethodHead, path, http.NoBody))
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind {
			t.Errorf("%s is answered %d, %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
}

// slow is a connection that is told until when it may take.
type slow struct {
	*httptest.ResponseRecorder
	until []time.Time
	last  time.Time // until when it had to take what was there in the end
}

func (s *slow) Flush() { s.last = s.until[len(s.until)-1] }

func (s *slow) SetWriteDeadline(until time.Time) error {
	s.until = append(s.until, until)
	return nil
}

// TestReadersThatDoNotRead are not waited for: whatever is written has to be taken in
// time, and the next request of the connection has its own.
func TestReadersThatDoNotRead(t *testing.T) {
	site := newSite(t, someAnswers())
	for _, path := range []string{"/events", api.NodesRoute, api.EventsFollowRoute, "/static/page.js", "/nowhere"} {
		reader := &slow{ResponseRecorder: httptest.NewRecorder()}
		before := time.Now()
		site.ServeHTTP(reader, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if len(reader.until) < 2 || reader.until[0].Before(before.Add(reading)) || reader.last.Before(before.Add(reading)) || !reader.until[len(reader.until)-1].IsZero() {
			t.Errorf("%s has to be read until %v", path, reader.until)
		}
	}
}
