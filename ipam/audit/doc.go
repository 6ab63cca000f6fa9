// Package audit looks for what should not stand in the store: addresses that
// nobody gives back, names of containers that are no more, what nodes left that
// the cluster does not know. It locks nothing. Every judgement is of one
// revision, and is made twice; every repair is a compare-and-swap on the records
// that were judged.
//
// See DESIGN.md in this folder.
package audit
