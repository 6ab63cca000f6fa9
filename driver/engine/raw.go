package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errhttp"
)

// Requests the moby client cannot make, or whose answers it cannot read:
//   - POST /networks/create, because below API 1.44 CheckDuplicate must be said;
//   - GET /networks, because one odd value in one network of any driver (20.10
//     prints an automatic IPv6 gateway as "fd00::1/64", or as "<nil>") makes the
//     client's typed decoding lose the whole list;
//   - GET /tasks, for the same reason (an address not yet allocated has no prefix);
//   - GET /events, because a stream that is read without a goroutine needs none
//     to be waited for.

// maxErrorBody bounds what is read of a refusal, in bytes.
const maxErrorBody = 64 << 10

func (e *Engine) get(ctx context.Context, s *session, path string, query url.Values, into any) error {
	body, err := e.do(ctx, s, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return decode(body, into)
}

func (e *Engine) post(ctx context.Context, s *session, path string, request, into any) error {
	encoded, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	body, err := e.do(ctx, s, http.MethodPost, path, nil, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	defer body.Close()
	return decode(body, into)
}

func decode(body io.Reader, into any) error {
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// do sends one request under the agreed version and returns the body of a
// successful answer, which the caller closes.
func (e *Engine) do(ctx context.Context, s *session, method, path string, query url.Values, body io.Reader) (io.ReadCloser, error) {
	target := url.URL{Scheme: "http", Host: "docker.localhost", Path: "/v" + s.version + path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := e.raw.Do(req)
	if err != nil {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return nil, ctxErr
		}
		return nil, fmt.Errorf("%w: %w", errdefs.ErrUnavailable, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// refusal turns an error answer (Engine API "ErrorResponse") into an error that
// carries the errdefs class of its status, as the moby client's errors do.
func refusal(resp *http.Response) error {
	class := errhttp.ToNative(resp.StatusCode)
	if class == nil {
		class = errdefs.ErrUnknown
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", resp.Status, class), err)
	}
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Message == "" {
		answer.Message = resp.Status
	}
	return &refused{words: answer.Message, class: class}
}

// refused is a refusal in the engine's own words. Its class (errdefs) is for
// errors.Is and no word more.
type refused struct {
	words string
	class error
}

func (r *refused) Error() string { return r.words }

func (r *refused) Unwrap() error { return r.class }
