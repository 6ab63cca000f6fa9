// Package store is the truth of a gvlan cluster: the records every node
// agrees on, the keys they live under, and the few operations on them that
// the rest of gvlan uses. The truth is kept in etcd v3 (embedded or an
// existing cluster); storetest has an in-memory stand-in which one
// conformance suite holds to the same behaviour.
//
// A KV reads, writes and watches. A Session is a node's right to write: it
// owns the node's epoch and adds the epoch to every transaction, so that a
// node that was replaced or evicted can no longer change anything. A mirror
// (Follow) keeps a local copy of a span of keys and survives compaction,
// reconnects and lost events.
//
// See DESIGN.md in this folder for the order of operations that carries the
// promise.
package store
