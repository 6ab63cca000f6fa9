package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// How much readers have the agent do at once, however many they are.
const (
	makingAtOnce  = 4  // pages and answers
	unreadAtOnce  = 64 // those that wait for their turn, or to be read
	streamsAtOnce = 64 // pages that are open, and answers that go on

	answering = 15 * time.Second // a page or an answer, with the wait for its turn
	reading   = 30 * time.Second // until what was written has to be read

	laterSeconds = "10" // until a reader that found no room tries again
)

// crowd bounds that.
type crowd struct {
	making  chan struct{} // has an element for each page and answer that is being made
	unread  chan struct{} // for each that is in memory, or will be
	streams chan struct{} // and for each that goes on
}

func newCrowd() crowd {
	return crowd{make(chan struct{}, makingAtOnce), make(chan struct{}, unreadAtOnce), make(chan struct{}, streamsAtOnce)}
}

// turn waits for the turn to make a page or an answer, no longer than ctx lasts; end
// gives it to the next.
func (c crowd) turn(ctx context.Context) (end func(), err error) {
	select {
	case c.making <- struct{}{}:
		return func() { <-c.making }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("too many pages are being made: %w", ctx.Err())
	}
}

// room is a place among those whose pages and answers are not read yet, if one is free.
func (c crowd) room() (end func(), free bool) { return place(c.unread) }

// stay is a place among those whose answers go on, if one is free.
func (c crowd) stay() (end func(), free bool) { return place(c.streams) }

func place(among chan struct{}) (end func(), free bool) {
	select {
	case among <- struct{}{}:
		return func() { <-among }, true
	default:
		return nil, false
	}
}

// tooMany says that no place is free.
func tooMany(w http.ResponseWriter) {
	w.Header().Set("Retry-After", laterSeconds)
	http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
}

// patient writes for a reader that reads on: to one that does not it fails, so that
// nothing is kept for it.
type patient struct {
	http.ResponseWriter
	connection *http.ResponseController
}

// Unwrap lets a stream flush.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Write implements http.ResponseWriter.
func (p *patient) Write(body []byte) (int, error) {
	if err := p.connection.SetWriteDeadline(time.Now().Add(reading)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("write to a reader: %w", err)
	}
	return p.ResponseWriter.Write(body)
}

// end lets another request have the connection, once it has taken what there was for
// this one.
func (p *patient) end() {
	_ = p.connection.SetWriteDeadline(time.Now().Add(reading)) // it may be gone
	_ = p.connection.Flush()
	_ = p.connection.SetWriteDeadline(time.Time{})
}

// held is an answer that is kept until it is whole: how fast it is read is then no
// matter of the one that makes it.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

var _ http.ResponseWriter = (*held)(nil)

// Header implements http.ResponseWriter.
func (h *held) Header() http.Header { return h.header }

// WriteHeader implements http.ResponseWriter.
func (h *held) WriteHeader(status int) { h.status = status }

// Write implements http.ResponseWriter.
func (h *held) Write(body []byte) (int, error) { return h.body.Write(body) }
