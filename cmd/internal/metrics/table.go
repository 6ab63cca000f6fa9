package metrics

import "github.com/prometheus/client_golang/prometheus"

// kind is what Prometheus calls the type of a metric.
type kind string

const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// family is a metric as the documents have it.
type family struct {
	name   string
	kind   kind
	labels []string
	help   string
	// beside is the counter that tells whether somebody looks at what a gauge
	// tells of; "" where nothing has to.
	beside string
}

// families is every metric of gvlan's own, in the order of the documents.
var families = []family{
	{name: "gvlan_build_info", kind: gauge, labels: []string{"version", "go"}, help: "1, with the version of the agent and of Go"},
	{name: "gvlan_warnings", kind: gauge, help: "what gvlan status says is wrong on this host and no other metric tells of", beside: "gvlan_reconcile_rounds_total"},

	{name: "gvlan_plugin_requests_total", kind: counter, labels: []string{"method", "outcome"}, help: "Docker's calls, answered or refused"},
	{name: "gvlan_plugin_request_duration_seconds", kind: histogram, labels: []string{"method"}, help: "how long they took"},
	{name: "gvlan_engine_up", kind: gauge, help: "1 while the engine's event stream stands", beside: "gvlan_reconcile_rounds_total"},
	{name: "gvlan_engine_absences_total", kind: counter, help: "how often the engine went away"},
	{name: "gvlan_reconcile_rounds_total", kind: counter, labels: []string{"outcome"}, help: "looks for what Docker forgot to say: done, failed in a part, or unanswered by the engine"},
	{name: "gvlan_reconcile_freed_total", kind: counter, labels: []string{"kind"}, help: "what they freed: endpoints the engine forgot, addresses and records of endpoints nobody has, and what was asked for and never used"},

	{name: "gvlan_address_requests_total", kind: counter, labels: []string{"outcome"}, help: "requests for addresses: given, refused as full, withheld because the store does not answer or is not trusted, or refused for another reason"},
	{name: "gvlan_address_races_total", kind: counter, help: "candidates that another host took first; another was then tried"},
	{name: "gvlan_address_conflicts", kind: gauge, help: "addresses of this host's containers and networks that somebody else holds", beside: "gvlan_store_requests_total"},
	{name: "gvlan_leases", kind: gauge, labels: []string{"state"}, help: "leases of this host; bound ones have a container", beside: "gvlan_address_requests_total"},
	{name: "gvlan_releases_pending", kind: gauge, help: "releases that the store has not taken yet", beside: "gvlan_plugin_requests_total"},
	{name: "gvlan_pool_addresses", kind: gauge, labels: []string{"network", "subnet", "state"}, help: "addresses given without being asked for by name, on all hosts: used, resting or free; none of a subnet whose mirror is not filled", beside: "gvlan_address_requests_total"},

	{name: "gvlan_networks", kind: gauge, labels: []string{"state"}, help: "networks of the cluster on this host: made, failed, or waiting to be made", beside: "gvlan_reconcile_rounds_total"},
	{name: "gvlan_network_parent_up", kind: gauge, labels: []string{"network", "parent"}, help: "1 while the interface a container would hang from is up; 0 with an empty parent where there is none", beside: "gvlan_plugin_requests_total"},
	{name: "gvlan_network_usable", kind: gauge, labels: []string{"network"}, help: "1 while containers can start here on the network, as far as it is the host that decides; gvlan status says why they cannot", beside: "gvlan_plugin_requests_total"},
	{name: "gvlan_endpoints", kind: gauge, labels: []string{"network"}, help: "containers of this host on the network", beside: "gvlan_plugin_requests_total"},

	{name: "gvlan_store_up", kind: gauge, help: "1 while etcd answered within the last half minute", beside: "gvlan_store_requests_total"},
	{name: "gvlan_store_state", kind: gauge, labels: []string{"state"}, help: "1 for what the store is to this host: trusted, unavailable, suspect (it lost its past: gvlan recover), foreign, fenced", beside: "gvlan_store_requests_total"},
	{name: "gvlan_store_requests_total", kind: counter, labels: []string{"operation", "outcome"}, help: "requests to etcd: answered, unanswered or refused"},
	{name: "gvlan_store_request_duration_seconds", kind: histogram, labels: []string{"operation"}, help: "how long they took, answered or not"},
	{name: "gvlan_mirror_age_seconds", kind: gauge, help: "since etcd was last heard of what is mirrored here", beside: "gvlan_store_requests_total"},
	{name: "gvlan_mirror_lag_revisions", kind: gauge, help: "how far the mirrors are behind the newest revision this host has seen", beside: "gvlan_store_requests_total"},
	{name: "gvlan_store_members", kind: gauge, labels: []string{"state"}, help: "members of the cluster's own store: answering or silent", beside: "gvlan_store_looks_total"},
	{name: "gvlan_store_looks_total", kind: counter, labels: []string{"outcome"}, help: "looks at all members of the store: done or failed"},
	{name: "gvlan_store_size_bytes", kind: gauge, help: "of the largest member's database, as a file", beside: "gvlan_store_looks_total"},
	{name: "gvlan_store_in_use_bytes", kind: gauge, help: "of that database, in use", beside: "gvlan_store_looks_total"},
	{name: "gvlan_store_quota_bytes", kind: gauge, help: "what a member's database may grow to", beside: "gvlan_store_looks_total"},

	{name: "gvlan_nodes", kind: gauge, labels: []string{"state"}, help: "nodes of the cluster: ready, unreachable-by-peers, detached, down, stopped (on purpose), evicted", beside: "gvlan_store_requests_total"},
	{name: "gvlan_gossip_answering", kind: gauge, help: "nodes that answer, this one included", beside: "gvlan_gossip_joins_total"},
	{name: "gvlan_gossip_joins_total", kind: counter, help: "attempts to join nodes that are known and missing"},
	{name: "gvlan_gossip_flaps_total", kind: counter, help: "nodes that were declared failed and came back"},
	{name: "gvlan_gossip_refused_total", kind: counter, labels: []string{"reason"}, help: "packets and streams refused: of another key, of another cluster, of a node etcd does not know"},
	{name: "gvlan_gossip_conflicts_total", kind: counter, help: "two addresses that claim one node name"},
	{name: "gvlan_gossip_udp_blocked_total", kind: counter, help: "probes that only TCP answered"},
	{name: "gvlan_gossip_dropped_total", kind: counter, help: "messages dropped because too many waited"},

	{name: "gvlan_audits_total", kind: counter, labels: []string{"outcome"}, help: "audits asked for on this host: done or failed"},
	{name: "gvlan_audit_findings", kind: gauge, labels: []string{"kind"}, help: "what the last of them found, and nobody repaired", beside: "gvlan_audits_total"},
	{name: "gvlan_audit_time_seconds", kind: gauge, help: "when the last of them was done, in seconds since 1970; 0: never", beside: "gvlan_audits_total"},

	{name: "gvlan_dns_queries_total", kind: counter, labels: []string{"zone", "rcode"}, help: "questions by the network they were about, or . for the domain above, reverse and passed (to another resolver), and the code of the answer"},
}

// named is the family of that name.
func named(name string) family {
	for _, f := range families {
		if f.name == name {
			return f
		}
	}
	return family{}
}

// desc describes the family to the registry.
func (f family) desc() *prometheus.Desc { return prometheus.NewDesc(f.name, f.help, f.labels, nil) }
