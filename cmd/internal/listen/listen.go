// Package listen serves HTTP on an address of this host that may not be there yet,
// or be another's: nobody's containers need what is served there.
package listen

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gvlan/cluster/store"
)

const (
	// again is when an address that cannot be had is tried again: it may be one of
	// an interface that is yet to come up.
	again = 2 * time.Second
	// endLimit is how long answers may take that are under way at the end.
	endLimit = time.Second
)

// Place is an address that something is served on.
type Place struct {
	Address string // HOST:PORT
	Option  string // that gave it, without --
	What    string // is served there: "metrics are", "the page is"
	Log     *slog.Logger

	mu      sync.Mutex
	missing error
}

// Listen waits for the address until ctx ends, when there is no listener. One that
// cannot be had is told once, and when it is had after all.
func (p *Place) Listen(ctx context.Context) (listener net.Listener, had bool) {
	var since time.Time
	for {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", p.Address)
		if err == nil {
			p.note(nil)
			if !since.IsZero() {
				p.Log.Info(p.What+" served", "address", p.Address, "after", time.Since(since).Round(time.Second))
			}
			return listener, true
		}
		if ctx.Err() == nil {
			p.note(err)
		}
		if since.IsZero() && ctx.Err() == nil {
			since = time.Now()
			p.Log.Error(fmt.Sprintf("%s not served on the address of --%s: tried again every two seconds", p.What, p.Option), "address", p.Address, "err", err)
		}
		if !store.Sleep(ctx, again) {
			return nil, false
		}
	}
}

func (p *Place) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing = err
}

// Missing is why the address could not be had at the last try; nil before the first.
func (p *Place) Missing() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missing
}

// Serve answers on a listener until ctx ends, with TLS where the server has a
// configuration of it. What takes too long then is cut off.
func Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(listener, "", "")
		} else {
			served <- server.Serve(listener)
		}
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	if server.Shutdown(end) != nil {
		_ = server.Close()
	}
	<-served
	return nil
}
