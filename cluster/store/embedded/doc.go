// Package embedded runs the etcd server that gvlan brings along: one member,
// in a data directory of its own, on a unix socket in it for this host's agent,
// and on request on an address for others. What others need to join is one token:
// the authority that both sides' certificates come from is derived from it.
package embedded
