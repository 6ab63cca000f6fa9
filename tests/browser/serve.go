package browser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"

	"golang.org/x/sync/errgroup"
)

// Site is an agent's page, served by a test in place of `gvlan web`.
type Site struct {
	URL string // without a path

	server *http.Server
	group  errgroup.Group
}

// Serve serves, on this computer's loopback, the page that an agent serves on its
// status socket.
func Serve(ctx context.Context, socket string) (*Site, error) {
	door, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the page: %w", err)
	}
	s := &Site{URL: "http://" + door.Addr().String(), server: &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "agent"
			r.Out.URL.Path, r.Out.URL.RawPath = "/web"+r.In.URL.Path, ""
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
		FlushInterval: -1, // at once
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}}}
	s.group.Go(func() error { return s.server.Serve(door) })
	return s, nil
}

// Close ends it, and the streams of those who look at it.
func (s *Site) Close() error {
	err := s.server.Close()
	if served := s.group.Wait(); !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
