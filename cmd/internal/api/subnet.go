package api

import (
	"net/netip"
	"net/url"
	"time"

	"gvlan/ipam/survey"
)

// SubnetRoute is of the addresses of a subnet, or of a part of it, one by one or in
// blocks: SubnetView. ?network=&subnet=&at=, the last a prefix within the subnet, ""
// for all of it; of networks of one name on several hosts, ?node= says whose.
const SubnetRoute = "/v1/subnet"

// Subnet is that route; zero prefixes and "" are left out.
func Subnet(network, node string, subnet, at netip.Prefix) string {
	query := url.Values{"network": {network}}
	if subnet.IsValid() {
		query.Set("subnet", subnet.String())
	}
	if node != "" {
		query.Set("node", node)
	}
	if at.IsValid() {
		query.Set("at", at.String())
	}
	return SubnetRoute + "?" + query.Encode()
}

// SubnetView is a subnet of a network, or a part of it.
type SubnetView struct {
	Network string       `json:"network"`
	Segment string       `json:"segment"`
	Node    string       `json:"node,omitempty"` // the only one that has the network, and its host
	Host    string       `json:"host,omitempty"`
	Subnet  netip.Prefix `json:"subnet"`
	At      netip.Prefix `json:"at"` // what is shown of it
	// Addresses are those of At in order, all of them, where it has no more than 1,024.
	Addresses []LeaseView `json:"addresses"`
	// Blocks are parts of At of one size in order where it has more addresses. Empty
	// says that those are left out in which no address is anything but free.
	Blocks []BlockView `json:"blocks"`
	Empty  bool        `json:"empty,omitempty"`
	// Counts is how many addresses of At are in which state; where there are Blocks,
	// without free ones.
	Counts map[survey.State]int `json:"counts"`
	// AsOf is set while etcd does not answer this host: it is what etcd said last.
	AsOf time.Time `json:"asOf,omitzero"`
}

// BlockView is a part of a subnet.
type BlockView struct {
	Prefix netip.Prefix         `json:"prefix"`
	Counts map[survey.State]int `json:"counts"` // of addresses, but for free ones
	Size   float64              `json:"size"`   // addresses
}
