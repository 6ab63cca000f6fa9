// Package journal is this host's own memory, which outlives the agent and needs
// no etcd. It holds what Docker will never say twice (networks, endpoints,
// pools) and what could not be written to etcd yet (releases).
//
// A Memory is typed: whoever changes a network and its pools, or a binding and
// its leases, does it in one Change or Note, which is one transaction of the
// file (disk). See DESIGN.md.
package journal
