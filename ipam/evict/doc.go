// Package evict takes a node out of the cluster, and its addresses back. Node
// fences it and puts its addresses into quarantine; Quarantines, which every
// agent runs, asks the LAN for them when their rest is over and frees those
// that nobody answers for. Release frees a single address for an operator, where
// nobody can be using it.
//
// See DESIGN.md in this folder.
package evict
