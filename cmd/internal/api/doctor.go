package api

import "time"

// Routes of what `gvlan doctor` and `gvlan support` ask beside what others do.
const (
	StoreReadsRoute = "/v1/store/reads" // GET: StoreReads
	SettingsRoute   = "/v1/settings"    // GET: []config.Shown
)

// StoreReads is how long the store takes to answer this agent. Each read is one
// that a majority of the members agrees to, and changes nothing.
type StoreReads struct {
	Took []time.Duration `json:"took"`
}
