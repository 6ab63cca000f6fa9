// Package addrset keeps sets of addresses of both families: Set as intervals,
// of any prefixes, whose cost is the number of gaps, not of addresses, and Index
// of one prefix, which also counts what is free and finds the n-th of it.
package addrset
