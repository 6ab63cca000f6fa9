package api

import "time"

// Routes of what `gvlan doctor` and `gvlan support` ask beside what others do.
const (
	StoreReadsRoute = "/v1/store/reads" // GET: StoreReads
	SettingsRoute   = "/v1/settings"    // GET: []Setting
)

// StoreReads is how long the store takes to answer this agent. Each read is one
// that a majority of the members agrees to, and changes nothing.
type StoreReads struct {
	Took []time.Duration `json:"took"`
}

// Setting is one setting in effect, as it may be shown: never a secret.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // default, a flag, a variable, or file and line
}
