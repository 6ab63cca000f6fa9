package api

import "time"

// StatusRoute is where Status is served.
const StatusRoute = "/v1/status"

// SitePath is where the status socket serves the pages (cmd/internal/web).
const SitePath = "/web/"

// WebKeyRoute is where `gvlan web` asks: POST, WebDoor.
const WebKeyRoute = "/v1/web/key"

// WebDoor is how people get to the page of an agent over TCP.
type WebDoor struct {
	Listen      string `json:"listen"`                // HOST:PORT; "": nowhere, and the rest is empty
	Link        string `json:"link,omitempty"`        // lets one browser in, once
	Fingerprint string `json:"fingerprint,omitempty"` // SHA-256 of the certificate; "": without TLS
	Made        bool   `json:"made,omitempty"`        // the agent made the certificate itself
	Password    bool   `json:"password,omitempty"`    // one lets in
	ProxyHeader string `json:"proxyHeader,omitempty"` // of a reverse proxy that lets people in
	Why         string `json:"why,omitempty"`         // it is not open
}

// Status is the answer of GET /v1/status.
type Status struct {
	Problems        []Problem       `json:"problems"` // what is wrong; none: healthy
	Node            string          `json:"node"`
	Host            string          `json:"host"`
	Version         string          `json:"version"`
	Started         time.Time       `json:"started"`
	Cluster         string          `json:"cluster"` // uuid; "" before etcd answered for the first time
	Solo            bool            `json:"solo"`
	Etcd            EtcdStatus      `json:"etcd"`
	Engine          EngineStatus    `json:"engine"`
	Gossip          *GossipStatus   `json:"gossip,omitempty"` // nil with --gossip off
	Hosts           []HostStatus    `json:"hosts"`            // of the cluster, by name
	Store           []StoreStatus   `json:"store"`            // members of the cluster's own; none: somebody else's, or not known
	Parents         []ParentStatus  `json:"parents"`          // of this host, that networks hang from
	Networks        []NetworkStatus `json:"networks"`
	Defined         DefinedStatus   `json:"defined"`
	PendingReleases int             `json:"pendingReleases"` // journaled, not in etcd yet
	Warnings        []string        `json:"warnings"`        // what is wrong and no error told anybody
	Hints           []string        `json:"hints"`           // what was asked for and has no effect; nothing is wrong for it
	FailedStarts    []string        `json:"failedStarts"`    // containers whose start failed for want of etcd
}

// Unhealthy reports whether something is wrong.
func (s Status) Unhealthy() bool { return len(s.Problems) > 0 }

// Problem is something that is wrong.
type Problem struct {
	What string `json:"what"`           // a sentence
	Cure string `json:"cure,omitempty"` // what to type or to do; "" where What says it
}

// HostStatus is one host of the cluster.
type HostStatus struct {
	Host    string    `json:"host"`
	State   string    `json:"state"`             // as in NodeView
	Stopped bool      `json:"stopped,omitempty"` // it is down because its agent was stopped
	Since   time.Time `json:"since,omitzero"`
}

// StoreStatus is one member of the cluster's own store, as it was when all were
// last looked at.
type StoreStatus struct {
	Host    string `json:"host"`
	Role    string `json:"role"` // leader, voter or learner
	Answers bool   `json:"answers"`
}

// ParentStatus is an interface of this host that containers hang from.
type ParentStatus struct {
	Name     string   `json:"name"`
	Up       bool     `json:"up"`
	MTU      int      `json:"mtu"` // bytes
	Networks []string `json:"networks"`
}

// PoolStatus is how full a subnet is, as this host follows it.
type PoolStatus struct {
	Subnet   string `json:"subnet"`
	Used     uint64 `json:"used"`
	Free     uint64 `json:"free"` // math.MaxUint64: so many or more
	Resting  uint64 `json:"resting"`
	Reserved uint64 `json:"reserved"` // never given: excluded, outside the range, a host's own; 0 for a subnet of more than 2^32
}

// EtcdStatus says whether new addresses can be given, and why not.
type EtcdStatus struct {
	Endpoints []string `json:"endpoints"`
	Trusted   bool     `json:"trusted"`        // new addresses are given
	Why       string   `json:"why,omitempty"`  // not: away, fenced or suspect, in words
	Asks      bool     `json:"asks,omitempty"` // it waits for a person, who has to run `gvlan recover`
}

// EngineStatus says whether the Docker Engine API answers.
type EngineStatus struct {
	Version string `json:"version"`       // "" while it never answered
	Why     string `json:"why,omitempty"` // it does not answer now
}

// GossipStatus counts what this agent met among its peers since it started.
type GossipStatus struct {
	Answering      int    `json:"answering"`      // members that answer, this one included
	RefusedKey     uint64 `json:"refusedKey"`     // packets and streams without the cluster's key
	RefusedCluster uint64 `json:"refusedCluster"` // of another cluster
	RefusedNode    uint64 `json:"refusedNode"`    // of nodes etcd does not know
	UDPBlocked     uint64 `json:"udpBlocked"`     // probes that only TCP answered
	Flaps          uint64 `json:"flaps"`          // members that were taken for dead and came back
}

// DefinedStatus counts the networks that every host of the cluster is to have.
type DefinedStatus struct {
	Networks int `json:"networks"`
	Made     int `json:"made"`   // of those, that stand on this host
	Failed   int `json:"failed"` // of those, that could not be made here and are tried again
}

// NetworkStatus is one network on this host.
type NetworkStatus struct {
	Name    string   `json:"name"` // "" until Docker told it
	UUID    string   `json:"uuid"` // of the definition; "" while it has none
	Scope   string   `json:"scope"`
	State   string   `json:"state"`
	Why     string   `json:"why,omitempty"` // it is out of step with the cluster
	Parent  string   `json:"parent"`        // in use here, or that would be now; "" while there is none
	Subnets []string `json:"subnets"`
	// Pools is how full they are; a subnet that this host gives no addresses of,
	// or does not follow yet, is not among them.
	Pools     []PoolStatus `json:"pools"`
	Endpoints int          `json:"endpoints"` // on this host
}
