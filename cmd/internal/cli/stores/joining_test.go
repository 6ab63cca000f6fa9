package stores

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gvlan/cmd/internal/api"
)

// TestJoinSaysWhatOnlyAPersonCanEnd: it does not wait two minutes for it.
func TestJoinSaysWhatOnlyAPersonCanEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api.sock")
	server, err := api.NewServer(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const why = "this node's name was another install's: run `gvlan recover` here"
	server.Handle("GET "+api.StatusRoute, func(*http.Request) (any, error) {
		return api.Status{Etcd: api.EtcdStatus{Why: why, Asks: true}}, nil
	})
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	c := NewJoin()
	c.SetContext(ctx)
	began := time.Now()
	_, err = settled(c, api.NewClient(path), settleWait, func(s api.Status) bool { return !s.Solo })
	if took := time.Since(began); err == nil || !strings.Contains(err.Error(), why) || took < personWait || took > settleWait/2 {
		t.Errorf("after %s: %v, want the reason after %s", took, err, personWait)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
