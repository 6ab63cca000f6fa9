// Package metrics tells Prometheus how this host's agent fares, and whoever
// supervises the host whether it is well.
//
//	table.go    every metric there is: name, type, labels, meaning
//	metrics.go  the registry, and what is counted as it happens
//	collect.go  what is read from the agent's parts when Prometheus asks
//	server.go   the listener: /metrics, /healthz, /readyz and, if asked for, profiles
//
// A scrape asks nobody outside this host, so that it is answered, and says so,
// while etcd or the engine do not. No label has values without bound: networks,
// subnets and interfaces may be one, containers and their addresses never. A
// gauge that may read well while nobody looks has a counter of the looks beside
// it.
package metrics
