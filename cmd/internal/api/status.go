package api

import "time"

// StatusRoute is where Status is served.
const StatusRoute = "/v1/status"

// Status is the answer of GET /v1/status.
type Status struct {
	Node            string          `json:"node"`
	Host            string          `json:"host"`
	Version         string          `json:"version"`
	Started         time.Time       `json:"started"`
	Cluster         string          `json:"cluster"` // uuid; "" before etcd answered for the first time
	Solo            bool            `json:"solo"`
	Etcd            EtcdStatus      `json:"etcd"`
	Engine          EngineStatus    `json:"engine"`
	Gossip          *GossipStatus   `json:"gossip,omitempty"` // nil with --gossip off
	Networks        []NetworkStatus `json:"networks"`
	Defined         DefinedStatus   `json:"defined"`
	PendingReleases int             `json:"pending_releases"` // journaled, not in etcd yet
	Warnings        []string        `json:"warnings"`         // what is wrong and no error told anybody
	FailedStarts    []string        `json:"failed_starts"`    // containers whose start failed for want of etcd
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
	Answering      int    `json:"answering"`       // members that answer, this one included
	RefusedKey     uint64 `json:"refused_key"`     // packets and streams without the cluster's key
	RefusedCluster uint64 `json:"refused_cluster"` // of another cluster
	RefusedNode    uint64 `json:"refused_node"`    // of nodes etcd does not know
	UDPBlocked     uint64 `json:"udp_blocked"`     // probes that only TCP answered
	Flaps          uint64 `json:"flaps"`           // members that were taken for dead and came back
}

// DefinedStatus counts the networks that every host of the cluster is to have.
type DefinedStatus struct {
	Networks int `json:"networks"`
	Made     int `json:"made"`   // of those, that stand on this host
	Failed   int `json:"failed"` // of those, that could not be made here and are tried again
}

// NetworkStatus is one network on this host.
type NetworkStatus struct {
	Name      string   `json:"name"` // "" until Docker told it
	UUID      string   `json:"uuid"` // of the definition; "" while it has none
	Scope     string   `json:"scope"`
	State     string   `json:"state"`
	Why       string   `json:"why,omitempty"` // it is out of step with the cluster
	Parent    string   `json:"parent"`        // in use here; "" while none is
	Subnets   []string `json:"subnets"`
	Endpoints int      `json:"endpoints"` // on this host
}
