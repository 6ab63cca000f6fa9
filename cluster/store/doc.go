// Package store is the vocabulary of a gvlan cluster's truth: the records every
// node agrees on, the keys they live under, and the few operations on them
// that the rest of gvlan uses (KV). It knows no database. Follow keeps a local
// copy of a span of keys, through compaction, reconnects and lost events.
//
// Beside it: etcd is the client, embedded the server gvlan brings along,
// session a node's right to write, storetest an in-memory stand-in and the
// suite that holds it and etcd to one behaviour.
//
// See DESIGN.md in this folder for the order of operations that carries the
// promise.
package store
