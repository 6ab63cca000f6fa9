package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gvlan/cmd/internal/config"
)

// Client asks this host's agent.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the agent whose status socket has that path.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Get decodes the answer of a route into value.
func (s *Client) Get(ctx context.Context, route string, value any) error {
	return s.Ask(ctx, http.MethodGet, route, value)
}

// Ask is Get with another method of HTTP's, for what changes something.
func (s *Client) Ask(ctx context.Context, method, route string, value any) error {
	return s.Send(ctx, method, route, nil, value)
}

// Send is Ask with a body that is sent as JSON, nil for none.
func (s *Client) Send(ctx context.Context, method, route string, body, value any) error {
	var raw bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&raw).Encode(body); err != nil {
			return fmt.Errorf("ask the agent: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+route, &raw)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return s.unreachable(err)
	}
	defer response.Body.Close()
	return decodeAnswer(response, value)
}

// Pages shows the pages of the agent (SitePath) at "/", those that go on as well, to
// GET and HEAD. Who may look is decided before.
func (s *Client) Pages() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			below := strings.TrimSuffix(SitePath, "/")
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "agent", "agent"
			r.Out.URL.Path, r.Out.URL.RawQuery = below+r.In.URL.Path, r.In.URL.RawQuery
			if r.In.URL.RawPath != "" {
				r.Out.URL.RawPath = below + r.In.URL.RawPath
			}
		},
		Transport: s.http.Transport,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				http.Error(w, s.unreachable(err).Error(), http.StatusBadGateway)
			}
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // a reader that goes is no error
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "nothing can be changed here", http.StatusMethodNotAllowed)
			return
		}
		if !fs.ValidPath(strings.Trim("x"+r.URL.Path, "/")) || !strings.HasPrefix(r.URL.Path, "/") { // ".." would lead out of the pages
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// Follow calls tell with each value of a route that goes on, until ctx ends, which
// is no error, tell fails or the agent ends.
func Follow[T any](ctx context.Context, s *Client, route string, tell func(T) error) error {
	return follow(ctx, s, http.MethodGet, route, tell)
}

func follow[T any](ctx context.Context, s *Client, method, route string, tell func(T) error) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+route, http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return s.unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return decodeAnswer(response, new(T))
	}
	for decoder := json.NewDecoder(response.Body); ; {
		var value T
		err := decoder.Decode(&value)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			if why, err := url.QueryUnescape(response.Trailer.Get(failedTrailer)); err == nil && why != "" {
				return errors.New(why)
			}
			return errors.New("the agent ended")
		case err != nil:
			return fmt.Errorf("read the agent's answer: %w", err)
		}
		if err := tell(value); err != nil {
			return err
		}
	}
}

// cure is what to do about an agent that is not there: on a node of a swarm it
// is often the other one that is meant.
func (s *Client) cure() string {
	folder, name := filepath.Split(s.path)
	if name == config.SwarmSocket {
		return "enable the managed plugin (docker plugin enable gvlan-swarm:latest), or leave --swarm out to ask the socket agent"
	}
	if _, err := os.Stat(filepath.Join(folder, config.SwarmSocket)); err == nil {
		return "add --swarm to ask the managed plugin, which runs here"
	}
	return "start it (systemctl start gvlan), or give the --status-socket it was started with"
}

// unreachable says in a sentence why the agent does not answer.
func (s *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no agent answers at %s: %s", s.path, s.cure())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the agent's socket %s is root's: run this command as root", s.path)
	}
	return fmt.Errorf("ask the agent at %s: %w", s.path, err)
}

func decodeAnswer(response *http.Response, value any) error {
	decoder := json.NewDecoder(response.Body)
	switch response.StatusCode {
	case http.StatusOK:
		if err := decoder.Decode(value); err != nil {
			return fmt.Errorf("read the agent's answer: %w", err)
		}
		return nil
	case http.StatusInternalServerError:
		var p Failed
		if err := decoder.Decode(&p); err == nil && p.Error != "" {
			return errors.New(p.Error)
		}
	case http.StatusNotFound:
		return errors.New("this agent does not know that question: it is older than this command")
	}
	return fmt.Errorf("the agent answered %s", response.Status)
}
