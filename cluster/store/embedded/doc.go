// Package embedded runs the etcd server that gvlan brings along: one member,
// in a data directory of its own, on a unix socket in it for this host's agent.
// It is alone, or open: with TLS on one port for clients and one for the other
// members of its cluster. What is left of a cluster, or a snapshot of one, is
// made a new cluster by Renew and Restore.
package embedded
