// Package mirror keeps a local copy of which addresses of a subnet have a
// record in the store, to choose candidates from. It may lag: the transaction
// decides.
package mirror
