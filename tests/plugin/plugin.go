// Package plugin speaks to an agent's plugin socket as dockerd does, for suites
// and benchmarks that have no engine.
package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// ErrNoAnswer: nobody knows whether the call happened.
var ErrNoAnswer = errors.New("no answer")

// Client is one socket's.
type Client struct{ http *http.Client }

// New speaks to nobody yet. So many connections are kept between calls.
func New(socket string, kept int) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: kept}}}
}

// Close ends the connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call is one request of the plugin API; into, unless it is nil, is filled with
// the answer. What the plugin refuses is an error in its words.
func (c *Client) Call(ctx context.Context, method string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://plugin/"+method, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", method, ErrNoAnswer, err)
	}
	defer response.Body.Close()
	var answer json.RawMessage
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w: %w", method, ErrNoAnswer, err)
	}
	var failed struct{ Err, Error string }
	if json.Unmarshal(answer, &failed) == nil && failed.Err+failed.Error != "" {
		return errors.New(failed.Err + failed.Error)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
