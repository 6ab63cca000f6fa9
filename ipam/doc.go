// Package ipam gives addresses of shared pools, never the same one twice.
//
// There is one record per address and segment in the store, made by a
// transaction that requires its absence. Nothing else decides who has an
// address: no leader, no lock, no local state. What this package keeps in
// memory is a mirror to choose candidates from and this node's own leases
// with their tokens; the host's journal keeps the latter, so that releases
// survive an outage of etcd and a restart.
//
// The Allocator answers Docker's IPAM calls (RequestPool, RequestAddress and
// their releases) and the driver's (Attach, Bind, Unbind, Free, ...). See
// DESIGN.md in this folder for the order of operations that carries the
// promise.
package ipam
