package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// How long Watch waits before it tries the engine again: doubled from first to
// last, and from the first again once the stream was up.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Watch follows the engine's events until ctx ends, and then returns its error. It
// reconnects for ever, and tells of it by events of KindStream: what the consumer
// lists after ActionConnected and is told from then on leaves no gap, but may tell
// of one thing twice.
//
// deliver is called from one goroutine and must not block: the engine drops events
// for a reader that lags behind by more than about a thousand.
func (e *Engine) Watch(ctx context.Context, deliver func(Event)) error {
	up, told := false, false
	wait := firstRetry
	for {
		err := e.follow(ctx, func(event Event) {
			up = true
			deliver(event)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.forget()
		if up {
			up, told, wait = false, false, firstRetry
		}
		if !told {
			told = true
			deliver(Event{Kind: KindStream, Action: ActionLost, Err: err, Time: e.now()})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.after(wait):
			wait = min(2*wait, lastRetry)
		}
	}
}

// follow reads one stream to its end, which is always an error.
func (e *Engine) follow(ctx context.Context, deliver func(Event)) error {
	s, err := e.agree(ctx)
	if err != nil {
		return fmt.Errorf("watch events: %w", classify(err))
	}
	// The engine answers before it subscribes us. Asking for what was since we asked
	// closes that gap: it keeps its last 256 events.
	body, err := e.do(ctx, s, http.MethodGet, "/events", eventQuery(e.now()), nil)
	if err != nil {
		return fmt.Errorf("watch events: %w", classify(err))
	}
	defer body.Close()
	deliver(Event{Kind: KindStream, Action: ActionConnected, Time: e.now()})
	return fmt.Errorf("watch events: %w", classify(readEvents(body, deliver)))
}

// readEvents hands on each JSON object of the stream, and returns what ended it.
func readEvents(body io.Reader, deliver func(Event)) error {
	decoder := json.NewDecoder(body)
	for {
		var answer eventAnswer
		if err := decoder.Decode(&answer); err != nil {
			return err
		}
		deliver(answer.event())
	}
}

func eventQuery(since time.Time) url.Values {
	filters := map[string]map[string]bool{
		"type":  {string(KindNetwork): true, string(KindContainer): true, string(KindDaemon): true},
		"event": {},
	}
	for _, action := range wanted {
		filters["event"][string(action)] = true
	}
	encoded, err := json.Marshal(filters)
	if err != nil {
		panic(err) // maps of strings always encode
	}
	return url.Values{
		"filters": {string(encoded)},
		"since":   {fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())},
	}
}
