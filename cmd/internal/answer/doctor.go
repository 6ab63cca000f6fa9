package answer

import (
	"fmt"
	"net/http"
	"time"

	"gvlan/cluster/store"
	"gvlan/cluster/store/session"
	"gvlan/cmd/internal/api"
	"gvlan/cmd/internal/config"
)

// Doctor answers what `gvlan doctor` and `gvlan support` ask beside what other
// commands do.
type Doctor struct {
	Session *session.Session
	Config  config.Config
}

// storeReads is how often the store is asked: the median of five is steady.
const storeReads = 5

// Register adds these routes to the server.
func (a Doctor) Register(server *api.Server) {
	server.Handle("GET "+api.StoreReadsRoute, a.reads)
	server.Handle("GET "+api.SettingsRoute, func(*http.Request) (any, error) { return config.Show(a.Config), nil })
}

// reads times reads of a small record.
func (a Doctor) reads(r *http.Request) (any, error) {
	var answer api.StoreReads
	for range storeReads {
		began := time.Now()
		if _, err := a.Session.Get(r.Context(), store.MetaKey()); err != nil {
			return nil, fmt.Errorf("read the store: %w", err)
		}
		answer.Took = append(answer.Took, time.Since(began))
	}
	return answer, nil
}
