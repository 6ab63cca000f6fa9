// Package survey says in whose hands the addresses of a cluster are, for people:
// what the store says of an address, of every address that has a record, and of
// how full each subnet is.
package survey
