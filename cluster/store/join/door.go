package join

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/authority"
)

// How long a door waits for whom.
const (
	headTimeout    = 5 * time.Second  // the handshake, and then the head of a request
	bodyTimeout    = 10 * time.Second // a request whole
	requestTimeout = 15 * time.Second // an answer; the store may hold an election
	answerTimeout  = 20 * time.Second // an answer, until it is taken
)

// Door is the server of a member's host that others join and renew at. It
// answers who has no certificate nothing but whether a secret is right.
type Door struct {
	// Standing is what this host says to one that asks which life the store is in,
	// and tells the life of what it has itself and the door to ask whether that is
	// so ("" when it runs none): its word alone counts for nothing. It must answer
	// while the store does not, and at once. Set before Run; nil: nothing is said.
	Standing func(asked store.Life, door string) Standing

	kv        store.KV
	id        *authority.Identity
	custodian *Custodian
	now       func() time.Time
	log       *slog.Logger
	checks    *checks
	wrong     rare // secrets
}

// NewDoor makes a door. It takes what it signs with from the custodian, who has
// the same store and identity.
func NewDoor(kv store.KV, id *authority.Identity, custodian *Custodian, now func() time.Time, log *slog.Logger) *Door {
	return &Door{kv: kv, id: id, custodian: custodian, now: now, log: log, checks: newChecks()}
}

// Listen opens the port of a door, given as host:port, for Run.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for hosts that join, at the second port after the one of --etcd-listen: stop what has it, or give another --etcd-listen: %w", err)
	}
	return l, nil
}

// Run serves at a listener, which it closes, until ctx ends (nil) or the
// listener fails. When it returns every request has ended.
func (d *Door) Run(ctx context.Context, listener net.Listener) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var requests, connections sync.WaitGroup
	server := &http.Server{
		Handler:           d.routes(inner),
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      answerTimeout,
		MaxHeaderBytes:    8 << 10,
		BaseContext:       func(net.Listener) context.Context { return inner },
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug), // strangers' doings
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed, http.StateHijacked:
				connections.Done()
			}
		},
	}
	server.SetKeepAlivesEnabled(false) // each request is a connection, judged anew
	requests.Go(func() {
		<-inner.Done()
		_ = server.Close() // ends what is on its way; Serve says how it went
	})
	err := server.Serve(tls.NewListener(limit(listener), d.config()))
	cancel()
	requests.Wait()
	connections.Wait()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve hosts that join: %w", err)
}

// config is the identity's, but that the handshake takes any certificate: who
// shows one that is not good learns why from the answer. A refused handshake
// may look like a broken line. Every route judges the certificate (caller).
func (d *Door) config() *tls.Config {
	config := d.id.Server()
	config.VerifyConnection = nil
	return config
}
