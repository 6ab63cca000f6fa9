package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

// swarmSocket is what the managed plugin calls its status socket unless told
// otherwise, beside the socket agent's.
const swarmSocket = "swarm.sock"

// statusClient asks this host's agent.
type statusClient struct {
	path string
	http *http.Client
}

// statusClientOf finds the socket by the settings of the command.
func statusClientOf(c *cobra.Command) (*statusClient, error) {
	loaded, err := load(c.Flags(), os.Environ())
	if err != nil {
		return nil, err
	}
	return newStatusClient(loaded.config.StatusSocket), nil
}

func newStatusClient(path string) *statusClient {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &statusClient{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// get decodes the answer of a route into value.
func (s *statusClient) get(ctx context.Context, route string, value any) error {
	return s.ask(ctx, http.MethodGet, route, value)
}

// ask is get with a method of HTTP's, for what changes something.
func (s *statusClient) ask(ctx context.Context, method, route string, value any) error {
	return s.send(ctx, method, route, nil, value)
}

// send is ask with a body that is sent as JSON, nil for none.
func (s *statusClient) send(ctx context.Context, method, route string, body, value any) error {
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

// cure is what to do about an agent that is not there: on a node of a swarm it
// is often the other one that is meant.
func (s *statusClient) cure() string {
	folder, name := filepath.Split(s.path)
	if name == swarmSocket {
		return "enable the managed plugin (docker plugin enable gvlan-swarm:latest), or leave --swarm out to ask the socket agent"
	}
	if _, err := os.Stat(filepath.Join(folder, swarmSocket)); err == nil {
		return "add --swarm to ask the managed plugin, which runs here"
	}
	return "start it (systemctl start gvlan), or give the --status-socket it was started with"
}

// unreachable says in a sentence why the agent does not answer.
func (s *statusClient) unreachable(err error) error {
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
		var p problem
		if err := decoder.Decode(&p); err == nil && p.Error != "" {
			return errors.New(p.Error)
		}
	case http.StatusNotFound:
		return errors.New("this agent does not know that question: it is older than this command")
	}
	return fmt.Errorf("the agent answered %s", response.Status)
}
