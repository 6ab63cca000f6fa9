package api

// RecoverRoute is where `gvlan recover` asks.
const RecoverRoute = "/v1/recover"

// Recovered is the answer of `gvlan recover`.
type Recovered struct {
	Cluster   string   `json:"cluster"`
	Nodes     []string `json:"nodes"`     // that have written what they hold again
	Waiting   []string `json:"waiting"`   // that have not: the store is not trusted yet
	Absent    []string `json:"absent"`    // of Waiting, whose agents are not connected
	Conflicts []string `json:"conflicts"` // addresses of this node that stay with somebody else
}
