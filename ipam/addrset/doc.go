// Package addrset keeps sets of addresses of both families as intervals, and
// finds the lowest address of a range that is in none of them. Its cost is the
// number of gaps, not of addresses.
package addrset
